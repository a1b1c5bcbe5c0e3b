//! The one connection to the collector, kept from batch to batch.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::sources::http::Target;
use crate::proxy::outbound::{self, OutboundFault, Sender, Whom};

/// A connection, or none yet.
#[derive(Debug, Default)]
pub(super) struct Connection(Option<Kept>);

#[derive(Debug)]
struct Kept {
    target: Target,
    ca: Option<PathBuf>,
    sender: Sender,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Asks, and reads the whole answer, of at most so many octets. What `make` makes may be sent twice: the other side
    /// may have closed the kept connection just now. Dropping the future closes the connection.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn ask(
        &mut self,
        whom: Whom<'_>,
        make: impl Fn() -> Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Response<Bytes>, OutboundFault> {
        let does = |kept: &Kept| kept.target == *whom.target && kept.ca.as_deref() == whom.ca && kept.sender.is_ready();
        if let Some(mut kept) = self.0.take().filter(does)
            && let Ok(answer) = outbound::exchange(&mut kept.sender, make(), most).await
        {
            self.0 = Some(kept);
            return Ok(answer);
        }
        let (sender, driver) = outbound::open(whom).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // Whoever waits for an answer hears of an error.
            let _ = driver.await;
        }));
        let (target, ca) = (whom.target.clone(), whom.ca.map(Into::into));
        let mut kept = Kept { target, ca, sender, _driver: driver };
        let answer = outbound::exchange(&mut kept.sender, make(), most).await?;
        self.0 = Some(kept);
        Ok(answer)
    }
}
