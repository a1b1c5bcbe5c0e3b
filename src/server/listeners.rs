//! What is listened on. A changed configuration is opened beside what is open: what both have goes on with the same
//! sockets, under a successor that has the new settings, so that no accept queue is ever lost.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::notify::Inherited;
use super::startup::StartError;
use super::take_over::{Place, Use};
use super::tickets::TicketKeys;
use super::workers::{DnsStart, Orders};
use crate::acme;
use crate::config::Config;
use crate::config::checked::{ClientDemand, DnsConfig, DnsTlsConfig, ListenerConfig, RouteBy};
use crate::config::watch::Watch;
use crate::dns;
use crate::dns::transport::bind::{self as dns_bind, Spoken, StreamSocket, WorkerSockets, own_addresses};
use crate::dns::transport::secure::Secure;
use crate::proxy::challenges::Challenges;
use crate::proxy::drain::Drain;
use crate::proxy::listen::{self, Entrance, Listener};
use crate::proxy::tls::clients::{ClientAuthorities, ClientFiles};
use crate::proxy::tls::ends::CertificateEnds;
use crate::proxy::tls::faults::{FileFaults, Told};
use crate::proxy::tls::store::{Certificates, Places};
use crate::proxy::tls::{TlsListener, TlsOptions, provider};

/// What is open. Each socket is held here under a descriptor of its own: that is what a successor gets.
#[derive(Debug)]
pub(super) struct Listeners {
    dns: Vec<DnsAddress>,
    dns_tls: DnsTlsConfig,
    proxy: HashMap<SocketAddr, ProxyListener>,
    certificates: HashMap<Places, Followed<Certificates>>,
    clients: HashMap<(ClientFiles, ClientDemand), Followed<ClientAuthorities>>,
    tickets: TicketKeys,
    ends: CertificateEnds,
    faults: FileFaults,
    challenges: Arc<Challenges>,
    leaving: Leaving,
    /// Of addresses for DNS that another process serves by now.
    handed_over: Vec<watch::Sender<dns::Drain>>,
    control: tokio::runtime::Handle,
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

/// Sockets of a configuration that are bound and not yet served.
pub(super) struct Opened {
    /// `None`: nothing changes.
    dns: Option<OpenedDns>,
    proxy: Vec<(ProxyListener, Vec<std::net::TcpListener>, Option<TlsListener>)>,
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

/// What was read of files that are followed.
#[derive(Debug)]
struct Followed<T> {
    read: Arc<T>,
    _watch: Option<Watch>,
    /// What is wrong with the files is told for as long as this is here.
    _told: Arc<Told>,
}

impl Listeners {
    /// Nothing is open. Certificates are followed on `control`.
    pub(super) fn new(
        control: tokio::runtime::Handle,
        (ends, faults): (CertificateEnds, FileFaults),
        challenges: Arc<Challenges>,
    ) -> Self {
        Self {
            dns: Vec::new(),
            dns_tls: DnsTlsConfig::default(),
            proxy: HashMap::new(),
            certificates: HashMap::new(),
            clients: HashMap::new(),
            tickets: TicketKeys::new(control.clone()),
            ends,
            faults,
            challenges,
            leaving: Leaving::default(),
            handed_over: Vec::new(),
            control,
        }
    }

    /// Binds what `config` adds to what is open, for so many workers.
    ///
    /// # Errors
    /// The first address that cannot be bound, or certificates that cannot be read; nothing has changed then.
    pub(super) fn open(
        &mut self,
        config: &Config,
        inherited: &mut Inherited,
        workers: usize,
    ) -> Result<Opened, StartError> {
        let wanted = dns_addresses(&config.dns);
        let is_same = self.dns.iter().map(|open| open.configured).eq(wanted.iter().copied());
        let dns = match is_same && self.dns_tls == config.dns.tls {
            true => None,
            false => Some(OpenedDns {
                secure: self.secure_dns(&config.dns.tls)?,
                addresses: wanted
                    .into_iter()
                    .map(|address| self.open_dns(address, inherited, workers))
                    .collect::<Result<_, _>>()?,
            }),
        };
        self.tickets.apply(&config.proxy.tls)?;
        make_folders(config);
        let mut proxy = Vec::new();
        for wanted in &config.proxy.listeners {
            if self.proxy.get(&wanted.address).is_some_and(|open| open.config == *wanted) {
                continue;
            }
            let tls = if wanted.speaks_tls() { Some(self.listener_tls(wanted)?) } else { None };
            let listener = self.open_listener(wanted, inherited, workers)?;
            let sockets = clone_all(&listener.sockets, std::net::TcpListener::try_clone)?;
            proxy.push((listener, sockets, tls));
        }
        Ok(Opened { dns, proxy })
    }

    /// Takes what was opened into service and what `config` no longer has out of it; what the workers are to do.
    pub(super) fn serve(&mut self, config: &Config, opened: Opened, drain_time: Duration) -> Vec<Orders> {
        self.leaving.dns.retain(|drain| !drain.is_closed());
        self.leaving.proxy.retain(|drain| !drain.is_closed());
        let mut orders = Vec::new();
        if let Some(opened) = opened.dns {
            self.dns_tls = config.dns.tls.clone();
            self.serve_dns(opened, &mut orders);
        }
        self.serve_proxy(&config.proxy.listeners, opened.proxy, drain_time, &mut orders);
        let folders = [&config.proxy.service_ports.certificates, &config.dns.tls.certificates];
        let used: HashSet<Places> = config.proxy.listeners.iter().map(places).chain(folders.map(in_folder)).collect();
        self.certificates.retain(|places, _| used.contains(places));
        let asked: HashSet<_> = config.proxy.listeners.iter().filter_map(asks).collect();
        self.clients.retain(|clients, _| asked.contains(clients));
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
    fn secure_dns(&mut self, tls: &DnsTlsConfig) -> Result<Option<Secure>, StartError> {
        let is_wanted = !tls.listen.is_empty() || !tls.https_listen.is_empty();
        let Some(folder) = tls.certificates.as_ref().filter(|_| is_wanted) else { return Ok(None) };
        let certificates: Arc<dyn rustls::server::ResolvesServerCert> =
            self.certificates(&Places::folder(folder), None)?;
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
            leaving.drain.send_replace(drain);
            self.leaving.dns.push(leaving.drain);
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
        Ok(ProxyListener { config: wanted.clone(), bound, sockets, is_inherited, drain })
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
    pub(super) fn tls_options(&self, name: &Arc<str>, clients: Option<Arc<ClientAuthorities>>) -> TlsOptions {
        let (tickets, challenges) = (self.tickets.tickets.clone(), self.challenges.clone());
        TlsOptions { name: name.clone(), tickets, clients, challenges }
    }

    /// What a listener speaks TLS with.
    fn listener_tls(&mut self, wanted: &ListenerConfig) -> Result<TlsListener, StartError> {
        let clients = match asks(wanted) {
            Some((files, demand)) => Some(self.clients(files, demand)?),
            None => None,
        };
        let former = self.proxy.get(&wanted.address).map(|open| places(&open.config));
        let certificates = self.certificates(&places(wanted), former.as_ref())?;
        Ok(TlsListener::new(certificates, &self.tls_options(&wanted.name, clients))?)
    }

    /// Who is a client by some files, followed from the first use on.
    fn clients(&mut self, files: ClientFiles, demand: ClientDemand) -> Result<Arc<ClientAuthorities>, StartError> {
        let key = (files, demand);
        if let Some(known) = self.clients.get(&key) {
            return Ok(known.read.clone());
        }
        // Watched before they are read, so that no change is missed between the two.
        let watch = watch_all(&key.0.all());
        let (authorities, told) = (ClientAuthorities::load(&key.0, demand)?, Arc::new(self.faults.reader()));
        authorities.tell(&told);
        if let Some(watch) = &watch {
            self.control.spawn(authorities.clone().follow(watch.receiver(), told.clone()));
        }
        self.clients.insert(key, Followed { read: authorities.clone(), _watch: watch, _told: told });
        Ok(authorities)
    }

    /// The certificates of some places, followed from the first use on. What was read of the `former` places stands in for
    /// what cannot be read.
    pub(super) fn certificates(
        &mut self,
        places: &Places,
        former: Option<&Places>,
    ) -> Result<Arc<Certificates>, StartError> {
        if let Some(known) = self.certificates.get(places) {
            return Ok(known.read.clone());
        }
        // Watched before they are read, so that no change is missed between the two.
        let watch = watch_all(&places.paths());
        let former = former.and_then(|former| self.certificates.get(former)).map(|known| &*known.read);
        let (store, bad) = Certificates::load_all(places.clone(), former)
            .map_err(|source| StartError::Certificates { folder: places.folder.clone().unwrap_or_default(), source })?;
        let told = Arc::new(self.faults.reader());
        store.report(&bad, &told);
        self.ends.show(&store);
        if let Some(watch) = &watch {
            self.control.spawn(store.clone().follow(watch.receiver(), told.clone()));
        }
        self.certificates.insert(places.clone(), Followed { read: store.clone(), _watch: watch, _told: told });
        Ok(store)
    }
}

/// Where a listener's certificates are.
fn places(listener: &ListenerConfig) -> Places {
    Places { files: listener.pairs.clone(), folder: listener.certificates.clone() }
}

fn in_folder(folder: &Option<PathBuf>) -> Places {
    Places { files: Vec::new(), folder: folder.clone() }
}

/// Who a listener's clients must be, if it asks.
fn asks(listener: &ListenerConfig) -> Option<(ClientFiles, ClientDemand)> {
    let authorities = listener.client_ca.clone()?;
    Some((ClientFiles { authorities, revoked: listener.client_crl.clone() }, listener.client_certificate))
}

/// Folders that certificates are ordered for are there before there is a certificate; if one cannot be made, whoever reads
/// it says so.
fn make_folders(config: &Config) {
    for entry in &config.proxy.acme {
        if let Err(error) = acme::folder::Folder::new(&entry.folder).prepare() {
            tracing::warn!(folder = %entry.folder.display(), %error, "the folder for certificates cannot be made");
        }
    }
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

fn watch_all(paths: &[PathBuf]) -> Option<Watch> {
    Watch::start_all(paths).inspect_err(|error| tracing::warn!(?paths, %error, "cannot watch certificates")).ok()
}

/// Further descriptors of the same sockets.
fn clone_all<S>(sockets: &[S], clone: fn(&S) -> std::io::Result<S>) -> Result<Vec<S>, StartError> {
    sockets.iter().map(clone).collect::<Result<_, _>>().map_err(StartError::Descriptors)
}
