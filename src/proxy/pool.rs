//! Connections to endpoints that wait for their next request: one pool a worker, by address and what TLS is to verify.
//!
//! The one used last is used first, so that what is not needed grows old and goes. A connection is closed at once when
//! the last endpoint at its address leaves the table or drains, and when it comes back after that. One whose endpoint has
//! said how long it keeps it open is not used past that ([`super::http1::stays`]).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connect;
use super::error::AttemptFault;
use super::exchange::Http1;
use super::http1::upstream::Bare;
use super::http2::link::{Link, Stream};
use super::proxy_protocol::Announcement;
use super::tls::endpoint::EndpointIo;
use super::tls::profiles::TlsProfiles;
use crate::config::checked::ProxyLimits;
use crate::model::endpoint::Endpoint;
use crate::model::endpoint_tls::EndpointTls;

/// Endpoints at one address that are known of, where many services share it: to look through all of ten thousand costs more than
/// a request. Should these few leave and others stay, idle connections are closed once, and the next requests make others known.
const USERS: usize = 8;

/// The pool of one worker.
#[derive(Debug, Default)]
pub struct Pool {
    slots: RefCell<HashMap<Place, Slot>>,
    /// Their places, the one that is looked at next first.
    turns: RefCell<VecDeque<Place>>,
    /// [`TlsProfiles::version`] that the connections over TLS were made with.
    profiles: Cell<u64>,
}

/// What connections are shared by: one that was verified in one way, or told of one client, does for no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    address: SocketAddr,
    /// Boxed: most have neither.
    apart: Option<Box<Apart>>,
}

/// What sets connections apart beside their address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Apart {
    tls: Option<Arc<EndpointTls>>,
    announcement: Option<Announcement>,
    /// The version of the profiles that verified it; 0: it is in clear text.
    profiles: u64,
}

impl Place {
    /// Where an endpoint is that is told this.
    pub fn of(endpoint: &Endpoint, announcement: Option<Announcement>, profiles: &TlsProfiles) -> Self {
        let apart = endpoint.tls.is_some() || announcement.is_some();
        let apart = apart.then(|| {
            let profiles = if endpoint.tls.is_some() { profiles.version() } else { 0 };
            Box::new(Apart { tls: endpoint.tls.clone(), announcement, profiles })
        });
        Self { address: endpoint.address, apart }
    }

    /// An address that is spoken with in clear text.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, apart: None }
    }

    /// Whether connections there are in clear text, or were verified by the profiles of this version.
    fn is_of(&self, version: u64) -> bool {
        self.apart.as_ref().is_none_or(|apart| apart.tls.is_none() || apart.profiles == version)
    }
}

#[derive(Debug)]
struct Slot {
    /// Endpoints at this address that requests were sent to, [`USERS`] at most: while one of them is current, so is the address.
    users: SmallVec<[Arc<Endpoint>; 1]>,
    http1: Vec<(Kept, Instant)>,
    http2: Vec<Rc<Link>>,
    /// Set while somebody opens an HTTP/2 connection; the others wait instead of opening their own.
    opening: Option<Rc<Coming>>,
    used: Instant,
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}

/// A kept HTTP/1.1 connection, as who used it last left it. Either implementation takes either.
#[derive(Debug)]
pub enum Kept {
    /// With hyper's state, which costs something to make.
    Http1(Http1),
    /// A socket.
    Bare(Bare),
}

impl Kept {
    /// Whether its endpoint still keeps it open, by what it has said.
    fn stays(&self, now: Instant) -> bool {
        let until = match self {
            Self::Http1(connection) => connection.until,
            Self::Bare(connection) => connection.until,
        };
        until.is_none_or(|until| now < until)
    }

    fn is_reusable(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_reusable(),
            Self::Bare(connection) => connection.is_reusable(),
        }
    }

    /// For hyper.
    ///
    /// # Errors
    /// If it does not take it.
    pub async fn into_http1(self) -> Result<Http1, AttemptFault> {
        let mut connection = match self {
            Self::Http1(connection) => connection,
            Self::Bare(connection) => {
                let (stream, opened) = connection.into_parts();
                connect::http1_over(EndpointIo::Plain(stream), opened).await?
            }
        };
        connection.reused = true;
        Ok(connection)
    }

    /// For ourselves; `None`: something waits to be read that nobody asked for.
    fn into_bare(self) -> Option<Bare> {
        let mut connection = match self {
            Self::Http1(connection) => connection.into_bare()?,
            Self::Bare(connection) => connection,
        };
        connection.reused = true;
        Some(connection)
    }
}

/// What the pool has for a request over HTTP/2.
#[derive(Debug)]
pub enum Http2Place {
    /// A place on an open connection.
    Stream(Stream),
    /// Nobody opens one: the caller should.
    Open(Opening),
    /// Somebody opens one: ask again when told.
    Wait(Rc<Coming>),
}

/// An HTTP/2 connection that is being opened.
#[derive(Debug, Default)]
pub struct Coming {
    /// Told when it is there, or nobody opens it any more.
    pub told: Notify,
    /// It is there.
    pub has_come: Cell<bool>,
}

/// Says that an HTTP/2 connection is being opened, or how much it takes is not known yet; whoever waits is told when this is
/// dropped.
#[derive(Debug)]
pub struct Opening {
    pool: Rc<Pool>,
    place: Place,
    coming: Rc<Coming>,
}

impl Pool {
    /// A kept HTTP/1.1 connection to an endpoint, alive as far as can be seen.
    pub fn take_http1(&self, place: &Place, endpoint: &Arc<Endpoint>, now: Instant) -> Option<Kept> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry_ref(place).or_insert_with(|| self.slot(place, now));
        slot.use_for(endpoint, now);
        while let Some((mut connection, _)) = slot.http1.pop() {
            if connection.stays(now) && connection.is_reusable() {
                return Some(connection);
            }
        }
        None
    }

    /// The same, as a socket.
    pub fn take_bare(&self, endpoint: &Arc<Endpoint>, now: Instant) -> Option<Bare> {
        let place = Place::plain(endpoint.address);
        std::iter::from_fn(|| self.take_http1(&place, endpoint, now)).find_map(Kept::into_bare)
    }

    /// Keeps a connection whose request is over, if its address is still in use and `limit` allows.
    pub fn put_http1(&self, place: &Place, connection: Http1, limit: usize, now: Instant) {
        self.put(place, Kept::Http1(connection), limit, now);
    }

    /// The same, of a socket.
    pub fn put_bare(&self, address: SocketAddr, connection: Bare, limit: usize, now: Instant) {
        self.put(&Place::plain(address), Kept::Bare(connection), limit, now);
    }

    fn put(&self, place: &Place, connection: Kept, limit: usize, now: Instant) {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get_mut(place)
            && !slot.users.is_empty()
            && slot.http1.len() < limit
            && connection.stays(now)
        {
            slot.http1.push((connection, now));
        }
    }

    /// A place for a stream to an endpoint, on a connection with fewer streams than both sides want.
    pub fn take_http2(
        self: &Rc<Self>,
        place: &Place,
        endpoint: &Arc<Endpoint>,
        limits: &ProxyLimits,
        now: Instant,
    ) -> Http2Place {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry_ref(place).or_insert_with(|| self.slot(place, now));
        slot.use_for(endpoint, now);
        slot.http2.retain(|connection| !connection.is_closed());
        // While another connection is being opened, nobody but its opener asks all of them what they take now.
        if let Some(connection) = slot.fullest_with_room(limits.streams, slot.opening.is_none()) {
            return Http2Place::Stream(Stream::new(connection));
        }
        if let Some(coming) = &slot.opening {
            return Http2Place::Wait(coming.clone());
        }
        // As many as there may be, or one more would have no room either: what is too much waits on the connection.
        let is_shut = slot.http2.iter().any(|connection| connection.allowed().takes_none());
        if (is_shut || slot.http2.len() >= limits.connections_per_endpoint as usize)
            && let Some(connection) = slot.least_loaded()
        {
            return Http2Place::Stream(Stream::new(connection));
        }
        let coming = Rc::<Coming>::default();
        slot.opening = Some(coming.clone());
        Http2Place::Open(Opening { pool: self.clone(), place: place.clone(), coming })
    }

    /// A place on an open connection, whether it has room or not: where no further one comes, what is too much
    /// waits there. `None`: none is open.
    pub fn crowd_http2(&self, place: &Place) -> Option<Stream> {
        let slots = self.slots.borrow();
        slots.get(place)?.least_loaded().map(Stream::new)
    }

    /// An endpoint drains or has left the table: closes what is kept of its address, unless another one there `is_current`.
    pub fn leave(&self, endpoint: &Endpoint, is_current: impl Fn(&Endpoint) -> bool) {
        let mut slots = self.slots.borrow_mut();
        let review = |slot: &mut Slot| {
            slot.users.retain(|user| is_current(user));
            slot.close_unless_used();
        };
        if endpoint.tls.is_none() && endpoint.proxy_protocol.is_none() {
            slots.get_mut(&Place::plain(endpoint.address)).into_iter().for_each(review);
            return;
        }
        // Few have these, and what sets their connections apart is not known here.
        slots.iter_mut().filter(|(place, _)| place.address == endpoint.address).for_each(|(_, slot)| review(slot));
    }

    /// Looks at so many places: closes what has been idle for `idle`, or for as long as its endpoint has said, and everything
    /// of addresses where no endpoint `is_current`.
    pub fn tidy(&self, some: usize, now: Instant, idle: Duration, is_current: impl Fn(&Endpoint) -> bool) {
        let (mut slots, mut turns) = (self.slots.borrow_mut(), self.turns.borrow_mut());
        for _ in 0..some.min(turns.len()) {
            let Some(place) = turns.pop_front() else { break };
            let Some(slot) = slots.get_mut(&place) else { continue };
            slot.users.retain(|endpoint| is_current(endpoint));
            slot.http1.retain(|(connection, since)| now.duration_since(*since) < idle && connection.stays(now));
            let quiet = now.duration_since(slot.used) >= idle;
            // Each by itself: those that a crowd needed go when it has gone.
            slot.http2.retain(|connection| !connection.is_idle(now, idle) && !connection.is_closed());
            let empty = slot.http1.is_empty() && slot.http2.is_empty() && slot.opening.is_none();
            if slot.users.is_empty() || (quiet && empty) {
                slots.remove(&place);
            } else {
                turns.push_back(place);
            }
        }
    }

    /// Forgets connections over TLS that were made by other profiles than those of this version; streams under way go on.
    pub fn follow_profiles(&self, version: u64) {
        if self.profiles.replace(version) != version {
            let mut slots = self.slots.borrow_mut();
            slots.iter_mut().filter(|(place, _)| !place.is_of(version)).for_each(|(_, slot)| slot.close());
        }
    }

    /// Closes what was kept for a client that is gone.
    pub fn forget(&self, places: &[Place]) {
        if !places.is_empty() {
            let mut slots = self.slots.borrow_mut();
            places.iter().for_each(|place| slots.get_mut(place).into_iter().for_each(Slot::close));
        }
    }

    /// Closes everything that is idle; streams under way go on.
    pub fn clear(&self) {
        self.slots.borrow_mut().values_mut().for_each(Slot::close);
    }

    /// A slot for a place that has none; only [`Pool::tidy`] takes it away again, so that each place has one turn.
    fn slot(&self, place: &Place, now: Instant) -> Slot {
        self.turns.borrow_mut().push_back(place.clone());
        Slot::new(now)
    }

    /// Places that something is known of.
    pub fn places(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Idle HTTP/1.1 connections and HTTP/2 connections that are kept.
    pub fn len(&self) -> usize {
        self.slots.borrow().values().map(|slot| slot.http1.len() + slot.http2.len()).sum()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Slot {
    fn new(now: Instant) -> Self {
        Self { users: SmallVec::new(), http1: Vec::new(), http2: Vec::new(), opening: None, used: now }
    }

    /// Closes what is idle; it is forgotten when its turn comes, unless it is used again.
    fn close(&mut self) {
        self.users.clear();
        self.http1.clear();
        self.http2.clear();
    }

    fn close_unless_used(&mut self) {
        if self.users.is_empty() {
            self.close();
        }
    }

    /// The open connection with the fewest streams.
    fn least_loaded(&self) -> Option<Rc<Link>> {
        let open = self.http2.iter().filter(|connection| !connection.is_closed());
        open.min_by_key(|connection| connection.streams()).cloned()
    }

    /// The fullest connection that has room, so that the others can fall idle: by what its endpoint says now. The others are
    /// asked what they say only where it has none, and if `asks_all`.
    fn fullest_with_room(&self, ours: u32, asks_all: bool) -> Option<Rc<Link>> {
        let fullest = || {
            let roomy = self.http2.iter().filter(|connection| connection.has_room(ours));
            roomy.max_by_key(|connection| connection.streams())
        };
        while let Some(connection) = fullest() {
            // One without streams has room for one.
            if connection.streams() > 0 {
                connection.allowed().look();
            }
            if connection.has_room(ours) {
                return Some(connection.clone());
            }
        }
        if !asks_all {
            return None;
        }
        self.http2.iter().for_each(|connection| connection.allowed().look());
        fullest().cloned()
    }

    fn use_for(&mut self, endpoint: &Arc<Endpoint>, now: Instant) {
        self.used = now;
        if self.users.len() == USERS || self.users.iter().any(|known| Arc::ptr_eq(known, endpoint)) {
            return;
        }
        match self.users.iter_mut().find(|known| known.id == endpoint.id) {
            Some(known) => *known = endpoint.clone(),
            None => self.users.push(endpoint.clone()),
        }
    }
}

impl Opening {
    /// Takes the first place on the connection that was opened, and shares it in a task of `tasks` as soon as its endpoint has
    /// said how much it takes, after `most` at the latest: on a connection of which that is not known all that wait would land at
    /// once.
    pub fn opened(self, connection: Rc<Link>, tasks: &TaskTracker, most: Duration) -> Stream {
        let stream = Stream::new(connection.clone());
        tasks.spawn_local(async move {
            connection.allowed().said(most).await;
            self.coming.has_come.set(true);
            if let Some(slot) = self.pool.slots.borrow_mut().get_mut(&self.place)
                && !slot.users.is_empty()
            {
                slot.http2.push(connection);
            }
            drop(self);
        });
        stream
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(slot) = self.pool.slots.borrow_mut().get_mut(&self.place) {
            slot.opening = None;
        }
        self.coming.told.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::proxy::leash::sample;
    use crate::proxy::worker::Opened;

    const IDLE: Duration = Duration::from_secs(30);

    async fn kept(pool: &Pool, endpoint: &Arc<Endpoint>, listener: &TcpListener, now: Instant) {
        assert!(pool.take_bare(endpoint, now).is_none());
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        pool.put_bare(endpoint.address, Bare::new(stream, Opened::count(Arc::default())), 8, now);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_connection_is_kept_for_as_long_as_its_endpoint_has_said() {
        let (pool, now) = (Pool::default(), Instant::now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let one = sample::endpoint("one", None);
        let put = async |until| {
            assert!(pool.take_bare(&one, now).is_none());
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut connection = Bare::new(stream, Opened::count(Arc::default()));
            connection.until = Some(until);
            pool.put_bare(one.address, connection, 8, now);
        };
        let (soon, later) = (now + IDLE / 4, now + IDLE / 3);
        put(soon).await;
        assert!(pool.take_bare(&one, now).is_some(), "there is time left");
        put(soon).await;
        assert!(pool.take_bare(&one, soon).is_none(), "it may be closed any moment");
        assert_eq!(pool.len(), 0);
        put(later).await;
        pool.tidy(1, soon, IDLE, |_| true);
        assert_eq!(pool.len(), 1);
        pool.tidy(1, later, IDLE, |_| true);
        assert_eq!(pool.len(), 0);
        put(now).await;
        assert_eq!(pool.len(), 0, "not worth keeping");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_nobody_needs_is_closed_and_each_place_has_one_turn() {
        let (pool, now) = (Pool::default(), Instant::now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = (sample::endpoint("one", None), sample::endpoint("other", None));
        kept(&pool, &one, &listener, now).await;
        assert_eq!((pool.len(), pool.places()), (1, 1));
        // Another task at the same address still needs it.
        assert!(pool.take_bare(&other, now).is_some());
        kept(&pool, &other, &listener, now).await;
        pool.leave(&one, |user| user.id == other.id);
        assert_eq!(pool.len(), 1);
        pool.leave(&other, |_| false);
        assert_eq!(pool.len(), 0, "nobody is at the address any more");
        // Whoever still comes by an older table keeps nothing for longer than until the place's turn.
        kept(&pool, &one, &listener, now).await;
        assert_eq!((pool.len(), pool.turns.borrow().len()), (1, 1));
        pool.tidy(1, now, IDLE, |_| false);
        assert_eq!((pool.len(), pool.places(), pool.turns.borrow().len()), (0, 0, 0));
        kept(&pool, &one, &listener, now).await;
        pool.tidy(1, now + IDLE / 2, IDLE, |_| true);
        assert_eq!((pool.len(), pool.turns.borrow().len()), (1, 1));
        pool.tidy(1, now + IDLE, IDLE, |_| true);
        assert_eq!((pool.len(), pool.places()), (0, 0), "idle for too long");
    }
}
