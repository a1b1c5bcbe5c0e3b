//! When an answer that says that its endpoint has no time is followed by another attempt.
//!
//! Of a call over gRPC its endpoint may say more (gRFC A6, "Pushback"): to send it again no sooner than after a time, or not
//! at all. That is obeyed by whoever sends it again, and that is this proxy where it does so by itself; what the last
//! endpoint said passes on to the client, which has a policy of its own.

use super::*;
use crate::proxy::grpc::Pushback;

impl Forwarding {
    /// After which time another endpoint is asked in place of passing this answer on; `None`: it is passed on.
    pub(super) fn repeat_after(&self, begun: &Begun) -> Option<Duration> {
        if !self.is_refusal(&begun.head) {
            return None;
        }
        match grpc::pushback(&begun.head.headers) {
            Pushback::After(pause) if self.account.is_call() => {
                // Nothing is gained by waiting for a time that the call has not.
                (Instant::now() + pause < self.deadline()).then_some(pause)
            }
            Pushback::Never if self.account.is_call() => None,
            _ => Some(Duration::ZERO),
        }
    }

    /// Whether the answer says that the endpoint has no time, and another may have.
    fn is_refusal(&self, head: &response::Parts) -> bool {
        // In the terms of HTTP ("HTTP to gRPC Status Code Mapping"); where it is told at once, nothing was done.
        let is_unavailable = self.account.is_call() && grpc::is_unavailable(head);
        let status = if is_unavailable { StatusCode::SERVICE_UNAVAILABLE } else { head.status };
        status.is_server_error() && self.proxy().retry_statuses.contains(&status.as_u16()) && self.may_go_elsewhere()
    }
}
