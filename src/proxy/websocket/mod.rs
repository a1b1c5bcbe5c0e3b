//! WebSockets on their way through: their frames are followed, so that one that has to be ended can be told so.
//!
//! RFC 6455 section 7.4.1: "1001 indicates that an endpoint is 'going away', such as a server going down". It is said only
//! where the proxy itself ends a tunnel, because a drain time is over: both sides get a Close frame behind the last whole
//! frame, have a moment to answer it, and then the connections close. Whatever the peers say to each other passes as it is.
//!
//! Of frames only the heads are looked at; nothing is copied for it.

pub mod frames;
mod goodbye;
mod relay;

pub(super) use goodbye::goodbyes;
pub(super) use relay::relay;
