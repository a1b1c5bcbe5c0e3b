//! What is listened on. A changed configuration is opened beside what is open: what both have goes on with the same
//! sockets, under a successor that has the new settings, so that no accept queue is ever lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::followed::{self, Followed, Fresh};
use super::made_folders::MadeFolders;
use super::notify::Inherited;
use super::startup::StartError;
use super::take_over::{Place, Use};
use super::tickets::{NewKeys, TicketKeys};
use super::workers::{DnsStart, Orders, WorkerParts};
use crate::config::Config;
use crate::config::checked::{DnsConfig, DnsTlsConfig, ListenerConfig, RouteBy};
use crate::dns;
use crate::dns::transport::bind::{self as dns_bind, Spoken, StreamSocket, WorkerSockets, own_addresses};
use crate::dns::transport::secure::Secure;
use crate::proxy::challenges::Challenges;
use crate::proxy::drain::Drain;
use crate::proxy::listen::{self, Entrance, Listener};
use crate::proxy::tls::presented::OfServices;
use crate::proxy::tls::store::{Certificates, Places};
use crate::proxy::tls::{TlsListener, TlsOptions, provider};
use crate::table::handle::TableHandle;

/// What is open. Each socket is held here under a descriptor of its own: that is what a successor gets.
#[derive(Debug)]
pub(super) struct Listeners {
    dns: Vec<DnsAddress>,
    dns_tls: DnsTlsConfig,
    proxy: HashMap<SocketAddr, ProxyListener>,
    followed: Followed,
    tickets: TicketKeys,
    challenges: Arc<Challenges>,
    table: Arc<TableHandle>,
    leaving: Leaving,
    /// Of addresses for DNS that have successors, or none: they end once those have been given out.
    ending: Vec<(watch::Sender<dns::Drain>, dns::Drain)>,
    /// Of addresses for DNS that another process serves by now.
    handed_over: Vec<watch::Sender<dns::Drain>>,
}

/// Where everything listens.
#[derive(Clone, Debug, Default)]
pub(super) struct Listening {
    pub(super) dns: Vec<SocketAddr>,
    pub(super) dns_tls: Vec<SocketAddr>,
    pub(super) dns_https: Vec<SocketAddr>,
    /// In the order of the configuration.
    pub(super) proxy: Vec<SocketAddr>,
}

/// What a configuration adds: bound, read, and not yet served. Dropping it takes all of it back.
pub(super) struct Opened {
    /// `None`: nothing changes.
    dns: Option<OpenedDns>,
    proxy: Vec<(ProxyListener, Vec<std::net::TcpListener>, Option<TlsListener>)>,
    tickets: NewKeys,
    fresh: Fresh,
    made: MadeFolders,
}

/// Addresses for DNS that are bound and not yet served.
struct OpenedDns {
    addresses: Vec<(DnsAddress, Vec<WorkerSockets>)>,
    secure: Option<Secure>,
}

/// An address for DNS.
#[derive(Debug)]
struct DnsAddress {
    configured: (Spoken, SocketAddr),
    bound: SocketAddr,
    /// For each worker its own.
    sockets: Vec<WorkerSockets>,
    drain: watch::Sender<dns::Drain>,
}

/// A listener of the proxy.
#[derive(Debug)]
struct ProxyListener {
    config: ListenerConfig,
    /// The folder of certificates that labels choose from, where they count here.
    named: Option<PathBuf>,
    bound: SocketAddr,
    /// For each worker its own.
    sockets: Vec<std::net::TcpListener>,
    is_inherited: bool,
    drain: watch::Sender<Drain>,
}

/// Those that went out of service and still have connections: without its sender each would end them at once.
#[derive(Debug, Default)]
struct Leaving {
    dns: Vec<watch::Sender<dns::Drain>>,
    proxy: Vec<watch::Sender<Drain>>,
}

impl Listeners {
    /// Nothing is open. Folders of certificates are followed on control's runtime.
    pub(super) fn new(parts: &WorkerParts) -> Self {
        let control = parts.control.clone();
        Self {
            dns: Vec::new(),
            dns_tls: DnsTlsConfig::default(),
            proxy: HashMap::new(),
            followed: Followed::new(control.clone(), parts.ends.clone(), parts.faults.clone()),
            tickets: TicketKeys::new(control),
            challenges: parts.challenges.clone(),
            table: parts.table.clone(),
            leaving: Leaving::default(),
            ending: Vec::new(),
            handed_over: Vec::new(),
        }
    }

    /// Binds and reads what `config` adds to what is open, for so many workers. Nothing is changed by it: what is opened
    /// and not served leaves no trace.
    ///
    /// # Errors
    /// The first address that cannot be bound, or certificates or keys that cannot be read.
    pub(super) fn open(
        &self,
        config: &Config,
        inherited: &mut Inherited,
        workers: usize,
    ) -> Result<Opened, StartError> {
        let made = MadeFolders::of(config);
        let mut fresh = Fresh::default();
        let wanted = dns_addresses(&config.dns);
        let is_same = self.dns.iter().map(|open| open.configured).eq(wanted.iter().copied());
        let dns = match is_same && self.dns_tls == config.dns.tls {
            true => None,
            false => Some(OpenedDns {
                secure: self.secure_dns(&config.dns.tls, &mut fresh)?,
                addresses: wanted
                    .into_iter()
                    .map(|address| self.open_dns(address, inherited, workers))
                    .collect::<Result<_, _>>()?,
            }),
        };
        let tickets = self.tickets.prepare(&config.proxy.tls)?;
        let mut proxy = Vec::new();
        for wanted in &config.proxy.listeners {
            let named = named_certificates(wanted, config);
            let is_open = |open: &ProxyListener| open.config == *wanted && open.named.as_ref() == named;
            if self.proxy.get(&wanted.address).is_some_and(is_open) {
                continue;
            }
            let tls = self.listener_tls(wanted, named, &mut fresh)?;
            let listener = ProxyListener { named: named.cloned(), ..self.open_listener(wanted, inherited, workers)? };
            let sockets = clone_all(&listener.sockets, std::net::TcpListener::try_clone)?;
            proxy.push((listener, sockets, tls));
        }
        Ok(Opened { dns, proxy, tickets, fresh, made })
    }

    /// Takes what was opened into service and what `config` no longer has out of it; what the workers are to do.
    pub(super) fn serve(&mut self, config: &Config, opened: Opened, drain_time: Duration) -> Vec<Orders> {
        self.leaving.dns.retain(|drain| !drain.is_closed());
        self.leaving.proxy.retain(|drain| !drain.is_closed());
        let mut orders = Vec::new();
        let Opened { dns, proxy, tickets, fresh, made } = opened;
        made.keep();
        self.followed.keep(fresh);
        self.tickets.apply(&config.proxy.tls, tickets);
        if let Some(opened) = dns {
            self.dns_tls = config.dns.tls.clone();
            self.serve_dns(opened, &mut orders);
        }
        self.serve_proxy(&config.proxy.listeners, proxy, drain_time, &mut orders);
        self.followed.forget_unused(config);
        orders
    }

    /// Where everything listens.
    pub(super) fn listening(&self, config: &Config) -> Listening {
        let proxy = config.proxy.listeners.iter().filter_map(|listener| self.proxy.get(&listener.address));
        let dns = |spoken| self.dns.iter().filter(move |open| open.configured.0 == spoken).map(|open| open.bound);
        Listening {
            dns: dns(Spoken::Plain).collect(),
            dns_tls: dns(Spoken::Tls).collect(),
            dns_https: dns(Spoken::Https).collect(),
            proxy: proxy.map(|open| open.bound).collect(),
        }
    }

    /// Every socket under a further descriptor, for a process that takes over.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<(Place, OwnedFd)>> {
        let mut out = Vec::new();
        for listener in self.proxy.values() {
            let place =
                Place { purpose: Use::Proxy, address: listener.config.address, is_inherited: listener.is_inherited };
            for socket in &listener.sockets {
                out.push((place, socket.try_clone()?.into()));
            }
        }
        for open in &self.dns {
            let address = open.configured.1;
            let place = |purpose, is_inherited| Place { purpose, address, is_inherited };
            for sockets in &open.sockets {
                let is_inherited = sockets.streams.iter().any(|socket| socket.is_inherited);
                for socket in &sockets.udp {
                    out.push((place(Use::DnsUdp, is_inherited), socket.try_clone()?.into()));
                }
                for socket in &sockets.streams {
                    let place = place(of_streams(socket.spoken), socket.is_inherited);
                    out.push((place, socket.listener.try_clone()?.into()));
                }
            }
        }
        Ok(out)
    }

    /// Accepts no more at these places: another process does. Connections go on.
    pub(super) fn hand_over(&mut self, places: &[Place]) {
        for listener in self.proxy.values_mut().filter(|open| is_at(places, &[Use::Proxy], open.config.address)) {
            listener.drain.send_replace(Drain::HandedOver);
            listener.sockets.clear();
        }
        let of_dns = [Use::DnsTcp, Use::DnsTls, Use::DnsHttps];
        for mut open in self.dns.extract_if(.., |open| is_at(places, &of_dns, open.configured.1)) {
            open.drain.send_replace(dns::Drain::HandedOver);
            open.sockets.clear();
            // Told nothing else any more: what ends its connections is that there is no sender.
            self.handed_over.push(open.drain);
        }
    }

    /// Gives the sockets up, so that they close with the workers that serve them; drains DNS. The proxy's listeners
    /// follow their workers.
    pub(super) fn give_up(&mut self) {
        for address in &mut self.dns {
            address.sockets.clear();
            address.drain.send_replace(dns::Drain::Draining);
        }
        for drain in &self.leaving.dns {
            drain.send_replace(dns::Drain::Draining);
        }
        self.handed_over.clear();
        for listener in self.proxy.values_mut() {
            listener.sockets.clear();
        }
    }

    fn open_dns(
        &self,
        configured: (Spoken, SocketAddr),
        inherited: &mut Inherited,
        workers: usize,
    ) -> Result<(DnsAddress, Vec<WorkerSockets>), StartError> {
        let (bound, sockets) = match self.dns.iter().find(|open| open.configured == configured) {
            Some(open) => (open.bound, clone_all(&open.sockets, WorkerSockets::try_clone)?),
            None => bind_dns(configured, inherited, workers)?,
        };
        let served = clone_all(&sockets, WorkerSockets::try_clone)?;
        let drain = watch::Sender::new(dns::Drain::Serving);
        Ok((DnsAddress { configured, bound, sockets, drain }, served))
    }

    /// What encrypted DNS is made with, where there is any.
    fn secure_dns(&self, tls: &DnsTlsConfig, fresh: &mut Fresh) -> Result<Option<Secure>, StartError> {
        let is_wanted = !tls.listen.is_empty() || !tls.https_listen.is_empty();
        let Some(folder) = tls.certificates.as_ref().filter(|_| is_wanted) else { return Ok(None) };
        let certificates: Arc<dyn rustls::server::ResolvesServerCert> =
            self.followed.certificates(&Places::folder(folder), None, fresh)?;
        Ok(Some(Secure::new(&certificates, &provider(), tls.https_path.clone())?))
    }

    fn serve_dns(&mut self, opened: OpenedDns, orders: &mut Vec<Orders>) {
        let OpenedDns { addresses, secure } = opened;
        let bound: Vec<_> = addresses.iter().map(|(address, _)| address.bound).collect();
        let own_addresses: Arc<[_]> = own_addresses(&bound).into();
        let former = std::mem::take(&mut self.dns);
        for (address, served) in addresses {
            let start = |sockets| DnsStart {
                sockets,
                secure: secure.clone(),
                own_addresses: own_addresses.clone(),
                drain: address.drain.subscribe(),
            };
            orders.push(Orders::Dns(served.into_iter().map(start).collect()));
            self.dns.push(address);
        }
        for leaving in former {
            let stays = self.dns.iter().any(|open| open.configured == leaving.configured);
            let drain = if stays { dns::Drain::HandedOver } else { dns::Drain::Draining };
            self.ending.push((leaving.drain, drain));
        }
    }

    /// Ends what [`Listeners::serve`] replaced. Not before its orders were given: a worker without any address for DNS lets go
    /// of what it keeps for all of them.
    pub(super) fn end_former(&mut self) {
        for (sender, drain) in self.ending.drain(..) {
            sender.send_replace(drain);
            self.leaving.dns.push(sender);
        }
    }

    fn open_listener(
        &self,
        wanted: &ListenerConfig,
        inherited: &mut Inherited,
        workers: usize,
    ) -> Result<ProxyListener, StartError> {
        let (sockets, is_inherited) = match self.proxy.get(&wanted.address) {
            // The same address with other settings.
            Some(open) => (clone_all(&open.sockets, std::net::TcpListener::try_clone)?, open.is_inherited),
            None => match inherited.handed.take_streams(Use::Proxy, wanted.address) {
                Some(handed) => handed,
                None => match inherited.take(&wanted.name) {
                    Some(socket) => (listen::share(socket, workers).map_err(StartError::Inherited)?, true),
                    None => (listen::bind(wanted.address, workers)?, false),
                },
            },
        };
        let bound = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(wanted.address);
        let drain = watch::Sender::new(Drain::Serving);
        Ok(ProxyListener { config: wanted.clone(), named: None, bound, sockets, is_inherited, drain })
    }

    fn serve_proxy(
        &mut self,
        wanted: &[ListenerConfig],
        opened: Vec<(ProxyListener, Vec<std::net::TcpListener>, Option<TlsListener>)>,
        drain_time: Duration,
        orders: &mut Vec<Orders>,
    ) {
        for (listener, sockets, tls) in opened {
            let start = |socket| Listener {
                name: listener.config.name.clone(),
                socket,
                is_inherited: listener.is_inherited,
                tls: tls.clone(),
                entrance: match listener.config.route_by {
                    RouteBy::Host => Entrance::Host,
                    RouteBy::App => Entrance::App,
                },
                passes: listener.config.passthrough,
                announcers: listener.config.proxy_protocol.as_slice().into(),
                drain: Some(listener.drain.subscribe()),
            };
            orders.push(Orders::Proxy(sockets.into_iter().map(start).collect()));
            if let Some(former) = self.proxy.insert(listener.config.address, listener) {
                former.drain.send_replace(Drain::HandedOver);
                self.leaving.proxy.push(former.drain);
            }
        }
        let until = Drain::Until(tokio::time::Instant::from_std(Instant::now() + drain_time));
        let is_gone = |address: &SocketAddr, _: &mut ProxyListener| !wanted.iter().any(|w| w.address == *address);
        for (_, leaving) in self.proxy.extract_if(is_gone) {
            // Its sockets close here and with the workers that serve them.
            leaving.drain.send_replace(until);
            self.leaving.proxy.push(leaving.drain);
        }
    }

    /// What a listener of this name has beside its certificates.
    pub(super) fn tls_options(&self, name: &Arc<str>) -> TlsOptions {
        let (tickets, challenges) = (self.tickets.tickets.clone(), self.challenges.clone());
        TlsOptions { name: name.clone(), tickets, clients: None, challenges, of_services: None }
    }

    /// What a listener is to speak TLS with, if it is; `named`: the folder that labels choose certificates from.
    fn listener_tls(
        &self,
        wanted: &ListenerConfig,
        named: Option<&PathBuf>,
        fresh: &mut Fresh,
    ) -> Result<Option<TlsListener>, StartError> {
        if !wanted.speaks_tls() {
            return Ok(None);
        }
        let mut options = self.tls_options(&wanted.name);
        if let Some((files, demand)) = followed::asks(wanted) {
            options.clients = Some(self.followed.clients(files, demand, fresh)?);
        }
        if let Some(named) = named {
            let certificates = self.followed.certificates(&Places::folder(named), None, fresh)?;
            options.of_services = Some(OfServices::new(self.table.clone(), certificates));
        }
        let former = self.proxy.get(&wanted.address).map(|open| followed::places(&open.config));
        let certificates = self.followed.certificates(&followed::places(wanted), former.as_ref(), fresh)?;
        Ok(Some(TlsListener::new(certificates, &options)?))
    }

    /// The certificates of a folder, followed from the first use on.
    pub(super) fn certificates(&mut self, folder: &Path) -> Result<Arc<Certificates>, StartError> {
        let mut fresh = Fresh::default();
        let certificates = self.followed.certificates(&Places::folder(folder), None, &mut fresh)?;
        self.followed.keep(fresh);
        Ok(certificates)
    }
}

/// The folder of certificates that labels choose from, where a listener is one whose clients name hosts over TLS.
fn named_certificates<'a>(listener: &ListenerConfig, config: &'a Config) -> Option<&'a PathBuf> {
    let names_hosts = listener.speaks_tls() && listener.route_by == RouteBy::Host;
    config.proxy.service_ports.certificates.as_ref().filter(|_| names_hosts)
}

/// The addresses that DNS is wanted at, and how it is spoken there.
fn dns_addresses(config: &DnsConfig) -> Vec<(Spoken, SocketAddr)> {
    let of = |spoken, addresses: &[SocketAddr]| addresses.iter().map(|address| (spoken, *address)).collect::<Vec<_>>();
    let plain = of(Spoken::Plain, &config.listen);
    [plain, of(Spoken::Tls, &config.tls.listen), of(Spoken::Https, &config.tls.https_listen)].concat()
}

/// Binds an address, or takes the sockets that the service manager has for it.
fn bind_dns(
    (spoken, address): (Spoken, SocketAddr),
    inherited: &mut Inherited,
    workers: usize,
) -> Result<(SocketAddr, Vec<WorkerSockets>), StartError> {
    if let Some(handed) = take_dns(spoken, address, inherited) {
        return Ok(handed);
    }
    if let Some(sockets) = inherited.take_dns(spoken, address)? {
        let sockets = std::iter::repeat_with(|| sockets.try_clone()).take(workers);
        return Ok((address, sockets.collect::<Result<_, _>>().map_err(StartError::Inherited)?));
    }
    let encrypted = |setting| {
        let (bound, listeners) = dns_bind::bind_streams(setting, address, workers)?;
        let one = |listener| {
            let stream = StreamSocket { listener, spoken, is_inherited: false };
            WorkerSockets { udp: Vec::new(), streams: vec![stream] }
        };
        Ok((bound, listeners.into_iter().map(one).collect()))
    };
    match spoken {
        Spoken::Tls => return encrypted("dns.tls.listen"),
        Spoken::Https => return encrypted("dns.tls.https_listen"),
        Spoken::Plain => {}
    }
    let bound = dns_bind::bind(&[address], workers)?;
    Ok((bound.addresses.first().copied().unwrap_or(address), bound.workers))
}

/// The sockets of the process that this one takes over from.
fn take_dns(
    spoken: Spoken,
    address: SocketAddr,
    inherited: &mut Inherited,
) -> Option<(SocketAddr, Vec<WorkerSockets>)> {
    let (streams, is_inherited) = inherited.handed.take_streams(of_streams(spoken), address)?;
    let mut datagrams = match spoken {
        Spoken::Plain => inherited.handed.take_datagrams(Use::DnsUdp, address)?.into_iter(),
        _ => Vec::new().into_iter(),
    };
    let bound = streams.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
    let one = |listener| WorkerSockets {
        udp: datagrams.next().into_iter().collect(),
        streams: vec![StreamSocket { listener, spoken, is_inherited }],
    };
    Some((bound, streams.into_iter().map(one).collect()))
}

/// What the streams of an address are handed over as.
fn of_streams(spoken: Spoken) -> Use {
    match spoken {
        Spoken::Plain => Use::DnsTcp,
        Spoken::Tls => Use::DnsTls,
        Spoken::Https => Use::DnsHttps,
    }
}

/// Whether one of these uses of an address is among the places.
fn is_at(places: &[Place], purposes: &[Use], address: SocketAddr) -> bool {
    places.iter().any(|place| place.address == address && purposes.contains(&place.purpose))
}

/// Further descriptors of the same sockets.
fn clone_all<S>(sockets: &[S], clone: fn(&S) -> std::io::Result<S>) -> Result<Vec<S>, StartError> {
    sockets.iter().map(clone).collect::<Result<_, _>>().map_err(StartError::Descriptors)
}
