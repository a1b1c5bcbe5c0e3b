//! How TLS is spoken with an endpoint, as its task wants it.

use std::sync::Arc;

/// The entry of `upstreams.tls` that counts where a task names none.
pub const DEFAULT: &str = "default";
/// What a task says to have its certificate not looked at.
pub const INSECURE: &str = "insecure";

/// What is asked of the other end of a connection over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointTls {
    /// The entry of `upstreams.tls`, [`DEFAULT`] or [`INSECURE`].
    pub profile: Arc<str>,
    /// The name that its certificate must be for, and that is sent to it (SNI); `None`: the profile's, else its address.
    pub server_name: Option<Arc<str>>,
}

impl Default for EndpointTls {
    fn default() -> Self {
        Self { profile: DEFAULT.into(), server_name: None }
    }
}

impl EndpointTls {
    /// Whether nobody looks at the certificate.
    pub fn is_insecure(&self) -> bool {
        *self.profile == *INSECURE
    }
}
