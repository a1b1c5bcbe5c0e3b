//! What can go wrong with one attempt: whose fault it is, whether another attempt is safe, and which answer it makes.

use super::reason::Reason;
use super::request_body::BodyFault;
use super::tls::endpoint::{TlsFault, is_refused};

/// Why an attempt brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum AttemptFault {
    /// No connection; nothing was sent.
    #[error("connecting failed")]
    Connect(#[source] std::io::Error),
    /// No connection in time; nothing was sent.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// A connection, and no TLS on it; nothing was sent then.
    #[error("no TLS with the endpoint")]
    Tls(#[source] TlsFault),
    /// The connection was closed before anything was written to it.
    #[error("the connection was closed already")]
    Unsent {
        /// Whether it had served other requests before.
        reused: bool,
    },
    /// The endpoint says that it has not processed the request (RFC 9113 section 8.7).
    #[error("the endpoint refused the stream unprocessed")]
    Refused,
    /// The connection ended after something was sent and before an answer began.
    #[error("the connection ended before an answer")]
    Died {
        /// Whether it had served other requests before.
        reused: bool,
        /// What the connection said.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer began within the time of one attempt.
    #[error("no answer began within the time of one attempt")]
    SlowAttempt,
    /// No answer began within the time of all attempts.
    #[error("no answer began in time")]
    SlowAnswer,
    /// The endpoint goes away, and its drain time was over before an answer began.
    #[error("the endpoint's drain time was over before an answer began")]
    Drained,
    /// The answer is not valid HTTP.
    #[error("the answer is not valid")]
    Invalid,
    /// The client's body broke off.
    #[error("the request's body broke off")]
    Body(#[source] BodyFault),
}

impl AttemptFault {
    /// Whether the endpoint is to blame.
    pub fn is_endpoints(&self) -> bool {
        !matches!(self, Self::Unsent { reused: true } | Self::Drained | Self::Body(_) | Self::Died { reused: true, .. })
    }

    /// Whether the endpoint certainly has not acted on the request, so that any method may be sent again
    /// (RFC 9110 section 9.2.2).
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout | Self::Tls(_) | Self::Unsent { .. } | Self::Refused)
    }

    /// Whether the attempt put no work on the endpoint: repeating it elsewhere makes no load grow.
    pub fn is_without_work(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout | Self::Tls(_) | Self::Unsent { .. })
    }

    /// Whether nobody listens there, which is known at once.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Connect(_))
    }

    /// The reason of the answer when no other attempt is made.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Connect(_) => Reason::ConnectFailed,
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::Tls(TlsFault::Certificate(_)) => Reason::UpstreamCertificate,
            Self::Tls(_) => Reason::UpstreamTls,
            Self::Died { error, .. } if is_refused(&**error) => Reason::UpstreamTls,
            Self::Unsent { .. } | Self::Refused | Self::Died { .. } => Reason::UpstreamReset,
            Self::SlowAttempt | Self::SlowAnswer => Reason::ResponseTimeout,
            Self::Drained => Reason::Drained,
            Self::Invalid => Reason::UpstreamInvalid,
            Self::Body(BodyFault::Idle) => Reason::RequestTimeout,
            Self::Body(BodyFault::Broken) => Reason::RequestCut,
            Self::Body(BodyFault::TooLarge) => Reason::BodyTooLarge,
        }
    }
}
