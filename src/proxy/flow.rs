//! Bodies as they come from the other side, whoever reads them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http2::handles::Reader;
use super::http2::stream::StreamFault;

/// A body as it comes from the other side.
#[derive(Debug)]
pub enum Flow {
    /// Over HTTP/1.1, read by hyper.
    Incoming(Incoming),
    /// Over HTTP/2.
    Stream(Reader),
    /// There is none.
    Nothing,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum FlowFault {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Incoming(#[from] hyper::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Stream(#[from] StreamFault),
}

impl Body for Flow {
    type Data = Bytes;
    type Error = FlowFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FlowFault>>> {
        match self.get_mut() {
            Self::Incoming(body) => Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| Ok(frame?))),
            Self::Stream(body) => Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| Ok(frame?))),
            Self::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
            Self::Nothing => SizeHint::with_exact(0),
        }
    }
}
