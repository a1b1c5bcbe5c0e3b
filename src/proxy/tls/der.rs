//! The few facts that are needed out of certificates and OCSP answers, read from their DER (X.690). Pure.
//!
//! Nothing is verified here: what is wrong with a certificate says whoever verifies it.

/// Tags that are looked for.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const UTC_TIME: u8 = 0x17;
const TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// Seconds since 1970.
pub type Seconds = i64;

/// When a certificate ends (RFC 5280 section 4.1.2.5); `None`: it is none.
pub fn not_after(certificate: &[u8]) -> Option<Seconds> {
    validity(certificate).map(|(_, ends)| ends)
}

/// When a certificate begins and ends; `None`: it is none.
pub fn validity(certificate: &[u8]) -> Option<(Seconds, Seconds)> {
    let certificate = Der(certificate).expect(SEQUENCE)?;
    let mut fields = Der(Der(certificate).expect(SEQUENCE)?);
    if fields.tag() == Some(VERSION) {
        fields.next()?;
    }
    // The serial number, the signature's algorithm, the issuer.
    fields.skip(3)?;
    let mut validity = Der(fields.expect(SEQUENCE)?);
    Some((validity.time()?, validity.time()?))
}

/// When a list of revoked certificates was issued, and when it is out of date (RFC 5280 section 5.1.2.4 and 5.1.2.5: "Conforming
/// CRL issuers MUST include the nextUpdate field in all CRLs"); `None`: it is none, or does not say.
pub fn list_times(list: &[u8]) -> Option<(Seconds, Seconds)> {
    let list = Der(list).expect(SEQUENCE)?;
    let mut fields = Der(Der(list).expect(SEQUENCE)?);
    if fields.tag() == Some(INTEGER) {
        // The version.
        fields.next()?;
    }
    // The signature's algorithm, the issuer.
    fields.skip(2)?;
    Some((fields.time()?, fields.time()?))
}

/// Until when an OCSP answer may be shown (RFC 6960 section 4.2.1): its earliest `nextUpdate`. `None`: it says nothing of a
/// certificate, or not for how long.
pub fn ocsp_until(answer: &[u8]) -> Option<Seconds> {
    let mut answer = Der(Der(answer).expect(SEQUENCE)?);
    if answer.expect(ENUMERATED)? != [0] {
        return None;
    }
    let mut bytes = Der(Der(answer.expect(0xa0)?).expect(SEQUENCE)?);
    bytes.next()?;
    let basic = Der(bytes.expect(OCTETS)?).expect(SEQUENCE)?;
    let mut data = Der(Der(basic).expect(SEQUENCE)?);
    if data.tag() == Some(VERSION) {
        data.next()?;
    }
    // Who answers, and when.
    data.skip(2)?;
    let mut responses = Der(data.expect(SEQUENCE)?);
    let mut until: Option<Seconds> = None;
    while !responses.0.is_empty() {
        let mut single = Der(responses.expect(SEQUENCE)?);
        single.skip(3)?;
        let next = Der(single.expect(0xa0)?).time()?;
        until = Some(until.map_or(next, |until| until.min(next)));
    }
    until
}

/// What is left of some values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value's tag and contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// Goes past so many values.
    fn skip(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.next().map(drop))
    }

    /// The next value's contents, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
    }

    /// A time in UTC (RFC 5280 section 4.1.2.5.1 and 4.1.2.5.2).
    fn time(&mut self) -> Option<Seconds> {
        let (tag, contents) = self.next()?;
        let text = std::str::from_utf8(contents).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = number(year)?;
                (if year >= 50 { 1900 + year } else { 2000 + year }, rest)
            }
            TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (number(year)?, rest)
            }
            _ => return None,
        };
        let part = |at: usize| rest.get(2 * at..2 * at + 2).and_then(number);
        let (month, day, hour, minute, second) = (part(0)?, part(1)?, part(2)?, part(3)?, part(4)?);
        let is_time = rest.len() == 10 && (1..=12).contains(&month) && (1..=31).contains(&day);
        (is_time && hour < 24 && minute < 60 && second < 61)
            .then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
    }
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Days since 1970-01-01 in the Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// What must hold for any octets: for cargo-fuzz, and for seeded runs without it.
pub fn fuzz_der(data: &[u8]) {
    // Times have four digits of a year at most.
    let bounds = -62_200_000_000..253_500_000_000;
    let list = list_times(data).unzip();
    for found in [not_after(data), ocsp_until(data), list.0, list.1].into_iter().flatten() {
        assert!(bounds.contains(&found), "{found}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2038, 1, 19), 24_855),
            ((1969, 12, 31), -1),
        ] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, expected) in [(2030, 1_893_456_000), (2060, 2_840_140_800)] {
            let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(not_after(certificate.der()), Some(expected));
            fuzz_der(certificate.der());
        }
        assert_eq!(not_after(b"nonsense"), None);
        assert_eq!(ocsp_until(&[0x30, 3, 0x0a, 1, 6]), None, "it says `unauthorized`");
    }

    #[test]
    fn times_that_are_none_are_not_read() {
        let time = |text: &str| Der(&[&[TIME, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()).time();
        assert_eq!(time("20300101000000Z"), Some(1_893_456_000));
        for wrong in ["20301301000000Z", "20300101250000Z", "20300101000000", "2030010100000Z", "2030-1-1000000Z"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }
}
