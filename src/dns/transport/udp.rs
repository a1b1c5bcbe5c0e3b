//! DNS over UDP: datagrams are read in batches, answered in place and sent, together where the kernel can, before the next
//! batch.
//!
//! No task for a datagram, and no allocation for a batch (`tests/dns_allocations.rs`). Answers leave from the address that was asked: a socket on a concrete
//! address does that by itself; on a wildcard the kernel tells the address with each datagram and is told it again.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg,
    sendmmsg, sendmsg, sendto, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::dns::Draining;
use crate::dns::forward::Waiting;
use crate::dns::metrics::Count;
use crate::dns::source::LoadNames;
use crate::dns::wire::Transport;
use crate::dns::worker::{self, Worker};

/// Datagrams read at a time.
const BATCH: usize = 32;

/// The longest query that is read whole. Real ones have less than 512 octets; of longer ones the header is enough to
/// say what is wrong.
const QUERY_SIZE: usize = 2048;

/// How long the kernel may take to have room for an answer again.
const SEND_PATIENCE: Duration = Duration::from_millis(100);

/// After an error that is not the absence of datagrams.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A socket address of one family, as the kernel writes it. The type that has room for any is moved for each datagram, in
/// pieces that the processor waits for.
pub(crate) trait Address: SockaddrLike + Copy + 'static {
    fn client(&self) -> IpAddr;
}

impl Address for SockaddrIn {
    fn client(&self) -> IpAddr {
        IpAddr::V4(self.ip())
    }
}

impl Address for SockaddrIn6 {
    fn client(&self) -> IpAddr {
        IpAddr::V6(self.ip())
    }
}

/// Serves a bound socket until the drain begins, and what has arrived by then; needs a runtime.
///
/// # Errors
/// The socket cannot be taken over.
pub(crate) fn serve<L: LoadNames + 'static>(
    socket: std::net::UdpSocket,
    worker: Rc<Worker<L>>,
    draining: Draining,
) -> io::Result<Pin<Box<dyn Future<Output = ()>>>> {
    Ok(match socket.local_addr()?.is_ipv4() {
        true => Box::pin(UdpServer::<L, SockaddrIn>::new(socket, worker)?.run(draining)),
        false => Box::pin(UdpServer::<L, SockaddrIn6>::new(socket, worker)?.run(draining)),
    })
}

/// A socket and what it is served with.
struct UdpServer<L, A: Address> {
    socket: Rc<UdpSocket>,
    worker: Rc<Worker<L>>,
    batch: Batch<A>,
    /// Answers that others are asked for; the worker bounds them.
    forwarded: JoinSet<()>,
}

impl<L: LoadNames + 'static, A: Address> UdpServer<L, A> {
    /// Takes a bound socket over; needs a runtime.
    fn new(socket: std::net::UdpSocket, worker: Rc<Worker<L>>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = LocalAddress::of(&socket)?;
        let socket = Rc::new(UdpSocket::from_std(socket)?);
        Ok(Self { socket, worker, batch: Batch::new(local), forwarded: JoinSet::new() })
    }

    /// Answers until the drain begins, and what has arrived by then.
    async fn run(mut self, mut draining: Draining) {
        let mut drain = pin!(draining.ended());
        loop {
            // Cancel safe: both only wait. In order, because looking for the drain takes a lock; under constant load
            // the runtime's budget makes the first branch pause often enough for the second to be seen.
            let ready = tokio::select! {
                biased;
                ready = self.socket.readable() => ready,
                () = &mut drain => break,
            };
            if let Err(error) = ready {
                tracing::error!(%error, "waiting for datagrams failed; a DNS socket is out of service");
                return;
            }
            self.serve_batch().await;
        }
        while self.serve_batch().await == BATCH {}
        // Each wait is bounded.
        while self.forwarded.join_next().await.is_some() {}
    }

    /// Reads a batch and answers it; returns how many datagrams it had.
    async fn serve_batch(&mut self) -> usize {
        let Self { socket, worker, batch, .. } = self;
        let descriptor = socket.as_raw_fd();
        let mut received = 0;
        let result = socket.try_io(Interest::READABLE, || {
            received = batch.receive(descriptor, worker)?;
            // A batch that is not full has emptied the socket. Saying so here spares the call that would find out.
            if received < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if let Err(error) = result
            && error.kind() != io::ErrorKind::WouldBlock
        {
            // The socket stays ready; without a pause, an error that lasts would spin.
            tracing::debug!(%error, "reading datagrams failed");
            tokio::time::sleep(ERROR_PAUSE).await;
        }
        self.send().await;
        self.wait_for_others();
        received
    }

    /// Sends the answers of the batch. While they cannot leave, no more queries are taken in.
    async fn send(&mut self) {
        let Self { socket, worker, batch, .. } = self;
        let Batch { departing, answers, replies, local, .. } = batch;
        let mut rest = &replies[..];
        while !rest.is_empty() {
            let alike = alike(rest, *local);
            let try_send = || send_some(departing, socket.as_raw_fd(), answers, &rest[..alike]);
            match (alike > 1).then(|| socket.try_io(Interest::WRITABLE, try_send)) {
                Some(Ok(sent)) => rest = &rest[sent.clamp(1, alike)..],
                // It is one; or there is no room, or the first cannot leave, and it is tried alone, with patience.
                None | Some(Err(_)) => rest = send_first(socket, worker, answers, rest).await,
            }
        }
        replies.clear();
        answers.clear();
    }

    /// Starts a task for each query of the batch that others are asked for, and forgets those that are done.
    fn wait_for_others(&mut self) {
        while self.forwarded.try_join_next().is_some() {}
        for (client, waiting) in self.batch.waiting.drain(..) {
            let (socket, worker) = (self.socket.clone(), self.worker.clone());
            self.forwarded.spawn_local(async move {
                let Some(octets) = worker.forwarded(Some(client.to.client()), waiting).await else { return };
                if send(&socket, &client, &octets).await.is_err() {
                    worker.metrics.count(Count::DroppedSend);
                }
            });
        }
    }
}

/// Sends the first of several answers and returns the others.
async fn send_first<'r, L: LoadNames, A: Address>(
    socket: &UdpSocket,
    worker: &Worker<L>,
    answers: &[u8],
    replies: &'r [Reply<A>],
) -> &'r [Reply<A>] {
    let Some((first, others)) = replies.split_first() else { return replies };
    if send(socket, &first.client, &answers[first.start..first.end]).await.is_err() {
        worker.metrics.count(Count::DroppedSend);
    }
    others
}

/// How many answers, from the first on, one call can send: those that leave from the same address.
fn alike<A>(replies: &[Reply<A>], local: LocalAddress) -> usize {
    let Some(first) = replies.first().map(|reply| &reply.client.from) else { return 0 };
    match (local, first) {
        (LocalAddress::Fixed, _) => replies.len(),
        // Of a datagram that did not say, although it should have.
        (_, Source::Socket) => 1,
        _ => replies.iter().take_while(|reply| reply.client.from.is_same(first)).count(),
    }
}

/// Sends as many answers as the kernel takes with one call, in order and from the first one's address; returns how many it
/// took.
fn send_some<A: Address>(
    departing: &mut MultiHeaders<A>,
    descriptor: RawFd,
    answers: &[u8],
    replies: &[Reply<A>],
) -> io::Result<usize> {
    let octets_of = |reply: &Reply<A>| IoSlice::new(&answers[reply.start..reply.end]);
    let octets: [[IoSlice<'_>; 1]; BATCH] =
        std::array::from_fn(|at| [replies.get(at).map_or_else(|| IoSlice::new(&[]), octets_of)]);
    let clients: [Option<A>; BATCH] = std::array::from_fn(|at| replies.get(at).map(|reply| reply.client.to));
    // No more than a batch has.
    let octets = &octets[..replies.len().min(BATCH)];
    let control = replies.first().and_then(|first| first.client.from.control());
    Ok(sendmmsg(descriptor, departing, octets, clients, control.as_slice(), MsgFlags::MSG_DONTWAIT)?.count())
}

/// Sends an answer; waits for room once. A second refusal is final.
async fn send<A: Address>(socket: &UdpSocket, client: &Client<A>, octets: &[u8]) -> io::Result<()> {
    let try_send = || socket.try_io(Interest::WRITABLE, || client.send(socket.as_raw_fd(), octets));
    let sent = try_send();
    if !sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        return sent;
    }
    let _ = tokio::time::timeout(SEND_PATIENCE, socket.writable()).await;
    try_send()
}

/// How a socket's answers get their source address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LocalAddress {
    /// It has one address.
    Fixed,
    /// It has all addresses; each datagram says which was meant.
    WildcardV4,
    WildcardV6,
}

impl LocalAddress {
    fn of(socket: &std::net::UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        if !address.ip().is_unspecified() {
            return Ok(Self::Fixed);
        }
        if address.is_ipv4() {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
            Ok(Self::WildcardV4)
        } else {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            Ok(Self::WildcardV6)
        }
    }

    /// Room for what is said with each datagram.
    fn control_space(self) -> Option<Vec<u8>> {
        match self {
            Self::Fixed => None,
            Self::WildcardV4 => Some(nix::cmsg_space!(in_pktinfo)),
            Self::WildcardV6 => Some(nix::cmsg_space!(in6_pktinfo)),
        }
    }
}

/// Buffers for a batch, used again for each.
struct Batch<A> {
    headers: MultiHeaders<A>,
    /// Of answers that leave together.
    departing: MultiHeaders<A>,
    queries: Box<[[u8; QUERY_SIZE]]>,
    local: LocalAddress,
    answers: Vec<u8>,
    replies: Vec<Reply<A>>,
    waiting: Vec<(Client<A>, Box<Waiting>)>,
}

/// An answer on its way.
struct Reply<A> {
    client: Client<A>,
    start: usize,
    end: usize,
}

/// Whom an answer is for, and the address that was asked.
struct Client<A> {
    to: A,
    from: Source,
}

/// The address that an answer leaves from.
#[derive(Clone, Copy)]
enum Source {
    /// The socket's own.
    Socket,
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl<A: Address> Batch<A> {
    fn new(local: LocalAddress) -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, local.control_space()),
            departing: MultiHeaders::preallocate(BATCH, local.control_space()),
            queries: vec![[0; QUERY_SIZE]; BATCH].into_boxed_slice(),
            local,
            answers: Vec::new(),
            replies: Vec::with_capacity(BATCH),
            waiting: Vec::new(),
        }
    }

    /// Reads what there is with one call.
    fn receive<L: LoadNames>(&mut self, descriptor: RawFd, worker: &Worker<L>) -> io::Result<usize> {
        let Self { headers, queries, local, answers, replies, waiting, .. } = self;
        let mut rest = queries.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| {
            [IoSliceMut::new(rest.next().map_or_else(Default::default, |query| &mut query[..]))]
        });
        let received = recvmmsg(descriptor, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        Ok(worker.with_names(|names| {
            let mut count = 0;
            for datagram in received {
                count += 1;
                let Some(to) = datagram.address else { continue };
                let from = match local {
                    LocalAddress::Fixed => Source::Socket,
                    _ => datagram.cmsgs().map_or(Source::Socket, Source::told_by),
                };
                let query = datagram.iovs().next().unwrap_or(&[]);
                let start = answers.len();
                let reply = names.answer(Transport::Udp, Some(to.client()), query, answers);
                let client = Client { to, from };
                match reply {
                    worker::Reply::None | worker::Reply::Transfer(_) => {}
                    worker::Reply::Ready => replies.push(Reply { client, start, end: answers.len() }),
                    worker::Reply::Later(later) => waiting.push((client, later)),
                }
            }
            count
        }))
    }
}

impl Source {
    fn told_by(messages: impl Iterator<Item = ControlMessageOwned>) -> Self {
        for message in messages {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(mut info) => {
                    // The way back is the routing table's business.
                    info.ipi_ifindex = 0;
                    // What came before the kernel was asked to tell has none but in its header: at a start, or on a socket that
                    // somebody else had bound.
                    if info.ipi_spec_dst.s_addr == 0 {
                        info.ipi_spec_dst = info.ipi_addr;
                    }
                    return Self::V4(info);
                }
                ControlMessageOwned::Ipv6PacketInfo(mut info) => {
                    // Only a link-local address means nothing without its link.
                    let [first, second, ..] = info.ipi6_addr.s6_addr;
                    if first != 0xfe || second & 0xc0 != 0x80 {
                        info.ipi6_ifindex = 0;
                    }
                    return Self::V6(info);
                }
                _ => {}
            }
        }
        Self::Socket
    }

    /// What the kernel is told of it.
    fn control(&self) -> Option<ControlMessage<'_>> {
        match self {
            Self::Socket => None,
            Self::V4(info) => Some(ControlMessage::Ipv4PacketInfo(info)),
            Self::V6(info) => Some(ControlMessage::Ipv6PacketInfo(info)),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Socket, Self::Socket) => true,
            (Self::V4(one), Self::V4(two)) => one == two,
            (Self::V6(one), Self::V6(two)) => one == two,
            _ => false,
        }
    }
}

impl<A: Address> Client<A> {
    fn send(&self, descriptor: RawFd, octets: &[u8]) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT;
        match self.from.control() {
            None => sendto(descriptor, octets, &self.to, flags),
            Some(info) => sendmsg(descriptor, &[IoSlice::new(octets)], &[info], flags, Some(&self.to)),
        }?;
        Ok(())
    }
}
