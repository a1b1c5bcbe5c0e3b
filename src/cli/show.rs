//! How answers look for people: aligned columns, ages in words, nothing that a terminal would obey.

use std::io::{self, Write};
use std::time::Duration;

/// Rows below a head, each column as wide as its widest cell.
pub(super) struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: &[&dyn std::fmt::Display]) {
        self.rows.push(cells.iter().map(|cell| clean(&cell.to_string())).collect());
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// The text without control characters: names and labels come from strangers, and a terminal obeys what it is sent.
pub(super) fn clean(text: &str) -> String {
    let is_hostile = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

/// A duration in the two largest units that matter.
pub(super) fn age(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, minutes) => format!("{minutes} min {rest} s"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// How long ago a moment was, in milliseconds since the Unix epoch.
pub(super) fn ago(at: u64) -> String {
    let now = crate::model::time::Timestamp::now();
    let elapsed: Duration = now.since(crate::model::time::Timestamp(at));
    format!("{} ago", age(elapsed.as_secs()))
}

/// The time of day (UTC) of a moment in milliseconds since the Unix epoch.
pub(super) fn clock(at: u64) -> String {
    let seconds = at / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The text, or a dash where there is none.
pub(super) fn or_dash(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("-")
}

/// `yes` or `no`.
pub(super) fn yes(claim: bool) -> &'static str {
    if claim { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut columns = Columns::new(&["NAME", "N"]);
        columns.row(&[&"a-long-name", &1]);
        columns.row(&[&"é", &22]);
        let mut out = Vec::new();
        columns.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME         N\na-long-name  1\né            22\n");
    }

    #[test]
    fn ages() {
        assert_eq!(age(5), "5 s");
        assert_eq!(age(65), "1 min 5 s");
        assert_eq!(age(3661), "1 h 1 min");
        assert_eq!(age(90_000), "1 d 1 h");
        assert_eq!(clock(3_661_000), "01:01:01Z");
    }

    #[test]
    fn terminals_get_no_orders() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
    }
}
