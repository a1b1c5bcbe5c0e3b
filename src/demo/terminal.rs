//! Lines typed at the terminal, if there is one.
//!
//! Read when the terminal is ready for it, not by a thread that nobody could end. The descriptor is left as it is: a
//! terminal in its usual line mode has a whole line when it is readable, so that reading does not block.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Octets of a line that are read; the rest is another line.
const LINE: usize = 1024;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line that is not empty.
    Line(String),
    /// The wish to end.
    Quit,
}

/// The terminal, or nothing.
#[derive(Debug)]
pub(super) struct Terminal {
    input: Option<AsyncFd<File>>,
}

impl Terminal {
    /// Standard input, if it is a terminal.
    pub(super) fn open() -> Self {
        let stdin = std::io::stdin();
        #[expect(deprecated, reason = "its successor is unsafe; a `File` owns its descriptor and keeps it open")]
        let open = || {
            let file = File::from(stdin.as_fd().try_clone_to_owned()?);
            AsyncFd::with_interest(file, Interest::READABLE)
        };
        let input = if stdin.is_terminal() { open() } else { return Self { input: None } };
        if let Err(error) = &input {
            tracing::debug!(%error, "the terminal cannot be read");
        }
        Self { input: input.ok() }
    }

    /// The next line; never, if there is no terminal or it has ended.
    pub(super) async fn next(&mut self) -> Typed {
        while let Some(input) = &self.input {
            match read_line(input).await {
                Ok(Some(line)) => match line.trim() {
                    "" => {}
                    "q" | "quit" => return Typed::Quit,
                    line => return Typed::Line(line.to_owned()),
                },
                Ok(None) => self.input = None,
                Err(error) => {
                    tracing::debug!(%error, "the terminal cannot be read");
                    self.input = None;
                }
            }
        }
        std::future::pending().await
    }
}

async fn read_line(input: &AsyncFd<File>) -> std::io::Result<Option<String>> {
    let mut ready = input.readable().await?;
    let mut line = [0; LINE];
    let length = input.get_ref().read(&mut line)?;
    ready.clear_ready();
    Ok((length > 0).then(|| String::from_utf8_lossy(&line[..length]).into_owned()))
}
