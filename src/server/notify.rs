//! The service manager: readiness, and sockets that it opened for us.

use std::net::TcpListener;

/// Sockets that the service manager opened (systemd socket activation), by name.
///
/// The names are those of `FileDescriptorName=`: a proxy listener takes the socket that has its name. Sockets that no
/// listener takes are told and ignored.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, TcpListener)>,
}

impl Inherited {
    /// What was passed to this process. Must be called once, before threads are started.
    pub fn take_all() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut descriptors = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..descriptors.len() {
            let name = names.split(':').nth(index).unwrap_or_default().to_owned();
            match descriptors.take_tcp_listener(index) {
                Ok(Some(socket)) => sockets.push((name, socket)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, %name, "inherited socket is no listening TCP socket; ignored"),
            }
        }
        Self { sockets }
    }

    /// The socket for the listener `name`.
    pub fn take(&mut self, name: &str) -> Option<TcpListener> {
        let at = self.sockets.iter().position(|(known, _)| known == name)?;
        Some(self.sockets.swap_remove(at).1)
    }

    /// Names that no listener took.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.sockets.iter().map(|(name, _)| &**name)
    }
}

/// Tells the service manager that everything is up.
pub fn ready() {
    tell(&[sd_notify::NotifyState::Ready]);
}

/// Tells the service manager that we are about to stop.
pub fn stopping() {
    tell(&[sd_notify::NotifyState::Stopping]);
}

fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "service manager not told");
    }
}
