//! The side of the program that takes over.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::balance::EndpointRecord;
use super::give::PATIENCE;
use super::message::{self, Answer, Hello, Released, Serving};
use super::{FORMAT, Handed, Place};

/// How long the running program may take for what it has at hand.
const PROMPT: Duration = Duration::from_secs(10);

/// Why the program cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// Nobody listens.
    #[error("nobody hands over at {}: {source}; start without --take-over, or look at server.hand_over of the running one", .path.display())]
    Nobody {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The running one does not want to.
    #[error("the running process does not hand over: {0}")]
    Refused(String),
    /// It has gone, or says what it should not.
    #[error("the running process broke the conversation off: {0}")]
    Broken(#[from] io::Error),
    /// The table is not ready in time.
    #[error("no source has told what runs within {0:?}; the running process goes on")]
    NotReady(Duration),
}

/// A conversation with the running program. Dropping it leaves that one serving.
#[derive(Debug)]
pub struct TakeOver {
    stream: UnixStream,
    pub(crate) handed: Handed,
    pub(crate) endpoints: Vec<EndpointRecord>,
}

impl TakeOver {
    /// Asks the program that listens at `path` for its sockets.
    ///
    /// # Errors
    /// Why there are none.
    pub fn begin(path: &Path, workers: usize) -> Result<Self, TakeOverError> {
        let stream =
            UnixStream::connect(path).map_err(|source| TakeOverError::Nobody { path: path.to_owned(), source })?;
        stream.set_read_timeout(Some(PROMPT))?;
        stream.set_write_timeout(Some(PROMPT))?;
        let (version, process) = (env!("CARGO_PKG_VERSION").to_owned(), std::process::id());
        message::write(&stream, &Hello { format: FORMAT, version, process, workers })?;
        let offer = match message::read(&stream)? {
            Answer::Offered(offer) => offer,
            Answer::Refused(why) => return Err(TakeOverError::Refused(why)),
        };
        let sockets = message::receive_sockets(&stream, offer.sockets.len())?;
        let mut handed = Handed::default();
        for (place, socket) in offer.sockets.into_iter().zip(sockets) {
            handed.add(place, socket);
        }
        tracing::info!(endpoints = offer.endpoints.len(), "sockets taken over");
        Ok(Self { stream, handed, endpoints: offer.endpoints })
    }

    /// How long the running program waits for [`TakeOver::serving`].
    pub(crate) fn patience() -> Duration {
        PATIENCE - PROMPT
    }

    /// Says that these places are served, and waits until the other one has let go of them. If it has gone meanwhile
    /// there is nobody to wait for.
    pub(crate) fn serving(self, places: Vec<Place>) {
        let told = message::write(&self.stream, &Serving { places });
        if let Err(error) = told.and_then(|()| message::read::<Released>(&self.stream)) {
            tracing::warn!(%error, "the former process has gone without a word");
        }
    }
}
