//! Ports that services hold: what is open of them, and how it becomes what the table wants. One by one: a port that
//! cannot be opened touches no other.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;

use super::take_over::{Handed, Place, Use};

use crate::config::checked::ServicePorts as Settings;
use crate::proxy::drain::Drain;
use crate::proxy::listen::{self, Entrance, Listener};
use crate::proxy::tls::TlsListener;
use crate::table::ways::WantedPort;

/// The open ones.
#[derive(Debug, Default)]
pub(super) struct ServicePorts {
    open: BTreeMap<u16, OpenPort>,
    /// Those that went out of service and still have connections: without its sender each would end them at once.
    leaving: Vec<watch::Sender<Drain>>,
}

#[derive(Debug)]
struct OpenPort {
    wanted: WantedPort,
    addresses: Vec<SocketAddr>,
    announcers: Vec<IpNet>,
    /// For each address one for each worker: what a successor gets.
    sockets: Vec<Vec<TcpListener>>,
    drain: watch::Sender<Drain>,
}

impl ServicePorts {
    /// Takes those out of service that are not wanted any more; their connections may go on until then.
    pub(super) fn close_others(&mut self, wanted: &[WantedPort], until: Drain) {
        self.leaving.retain(|drain| !drain.is_closed());
        let is_gone = |port: &u16| wanted.binary_search_by_key(port, |wanted| wanted.port).is_err();
        for (_, gone) in self.open.extract_if(.., |port, _| is_gone(port)) {
            gone.drain.send_replace(until);
            self.leaving.push(gone.drain);
        }
    }

    /// Whether a port is open as it is wanted.
    pub(super) fn is_open(&self, wanted: &WantedPort, settings: &Settings) -> bool {
        let open = self.open.get(&wanted.port);
        open.is_some_and(|open| {
            open.wanted == *wanted
                && open.addresses == addresses(wanted, settings)
                && open.announcers == settings.proxy_protocol
        })
    }

    /// Opens a port, or opens it anew with other settings; what each worker is to serve, address by address.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(super) fn open(
        &mut self,
        wanted: &WantedPort,
        settings: &Settings,
        tls: Option<&TlsListener>,
        until: Drain,
        (workers, handed): (usize, &mut Handed),
    ) -> Result<Vec<Vec<Listener>>, String> {
        let addresses = addresses(wanted, settings);
        let former = self.open.remove(&wanted.port);
        let (sockets, handed_over) = match former {
            // The same sockets with another certificate: no connection that waits is lost.
            Some(former) if former.addresses == addresses => (former.sockets, Some(former.drain)),
            former => {
                if let Some(former) = former {
                    former.drain.send_replace(until);
                    self.leaving.push(former.drain);
                }
                let bind = |address: &SocketAddr| match handed.take_streams(Use::ServicePort, *address) {
                    Some((sockets, _)) => Ok(sockets),
                    None => listen::bind(*address, workers),
                };
                let bound: Result<Vec<_>, _> = addresses.iter().map(bind).collect();
                (bound.map_err(|error| error.to_string())?, None)
            }
        };
        let drain = watch::Sender::new(Drain::Serving);
        let name: Arc<str> = format!("port {}", wanted.port).into();
        let announcers: Arc<[_]> = settings.proxy_protocol.as_slice().into();
        let start = |socket: &TcpListener| {
            socket.try_clone().map(|socket| Listener {
                name: name.clone(),
                socket,
                is_inherited: false,
                tls: tls.cloned(),
                entrance: Entrance::Port(wanted.port),
                passes: false,
                announcers: announcers.clone(),
                drain: Some(drain.subscribe()),
            })
        };
        let orders: Result<Vec<Vec<Listener>>, _> =
            sockets.iter().map(|sockets| sockets.iter().map(start).collect()).collect();
        let orders = orders.map_err(|error| format!("no further descriptor can be had: {error}"))?;
        if let Some(former) = handed_over {
            former.send_replace(Drain::HandedOver);
            self.leaving.push(former);
        }
        let announcers = settings.proxy_protocol.clone();
        self.open.insert(wanted.port, OpenPort { wanted: wanted.clone(), addresses, announcers, sockets, drain });
        Ok(orders)
    }

    /// Every socket under a further descriptor, for a process that takes over.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<(Place, OwnedFd)>> {
        let mut out = Vec::new();
        for open in self.open.values() {
            for (address, sockets) in open.addresses.iter().zip(&open.sockets) {
                let place = Place { purpose: Use::ServicePort, address: *address, is_inherited: false };
                for socket in sockets {
                    out.push((place, socket.try_clone()?.into()));
                }
            }
        }
        Ok(out)
    }

    /// Accepts no more at these places: another process does. Connections go on.
    pub(super) fn hand_over(&mut self, places: &[Place]) {
        let is_taken =
            |address| places.iter().any(|place| place.purpose == Use::ServicePort && place.address == address);
        for open in self.open.values_mut().filter(|open| open.addresses.iter().any(|address| is_taken(*address))) {
            open.drain.send_replace(Drain::HandedOver);
            open.sockets.clear();
        }
    }

    /// Gives the sockets up, so that they close with the workers that serve them.
    pub(super) fn give_up(&mut self) {
        self.open.values_mut().for_each(|open| open.sockets.clear());
    }
}

fn addresses(wanted: &WantedPort, settings: &Settings) -> Vec<SocketAddr> {
    match wanted.bind {
        Some(address) => vec![SocketAddr::new(address, wanted.port)],
        None => settings.addresses.iter().map(|address| SocketAddr::new(*address, wanted.port)).collect(),
    }
}
