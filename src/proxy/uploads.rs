//! What clients have sent over HTTP/2 and nobody has taken yet.
//!
//! The implementation behind keeps what comes for a stream until whoever serves it asks for it: as much as the windows
//! allow, a MiB a connection, which of many connections is more than any machine has. So it is counted with everything
//! else that waits ([`super::held`]), and where much waits already, the sockets of those who send more are left alone until
//! something has been taken: TCP holds them up, and their clients keep what they have.
//!
//! - From half of what may wait (`proxy.limits.buffer_size`) on, nothing is read from a connection that has something
//!   waiting: whatever it has can be taken without that.
//! - From three quarters on, nothing is read from a connection with any upload that is not over.
//!
//! Connections without uploads are never held up, so that requests go on while uploads wait; the last quarter is theirs.
//!
//! Counted is from above. Two numbers tell what may wait: what came less what was taken, and what came less what the
//! implementation has allowed anew, which it does only for what it has let go; the smaller one counts. When no upload is
//! open, nothing waits. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::held::Held;
use super::idle::Watch;
use super::metrics::Shard;

/// The window that a connection begins with (RFC 9113 section 6.9.2).
const FIRST_WINDOW: u64 = 65_535;

/// The uploads of one connection.
#[derive(Debug)]
pub struct Uploads {
    watch: Arc<Watch>,
    shard: Arc<Shard>,
    crowd: Rc<Crowd>,
    /// The most that may wait, all of a worker together.
    most: u64,
    /// By so much the connection's window is larger than it is at first: allowed without that anything was let go.
    raised: u64,
    held: RefCell<Held>,
    /// Octets that came, in whole frames; octets that were taken, and that may be sent anew.
    received: Cell<u64>,
    taken: Cell<u64>,
    allowed: Cell<u64>,
    /// What waits in whole frames: all of it can be taken.
    whole: Cell<u64>,
    /// Uploads that are not over.
    open: Cell<u32>,
    pause: Rc<Pause>,
}

/// A connection that is not read from.
#[derive(Debug, Default)]
struct Pause {
    waker: RefCell<Option<Waker>>,
    /// It is known to the crowd.
    is_listed: Cell<bool>,
}

/// The connections of a worker that are not read from.
#[derive(Debug, Default)]
pub struct Crowd(RefCell<Vec<Rc<Pause>>>);

impl Crowd {
    /// Has all of them look again.
    pub fn wake(&self) {
        for pause in self.0.take() {
            pause.is_listed.set(false);
            pause.wake();
        }
    }

    fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Pause {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Uploads {
    /// Of a connection with a window of `window` octets, whose layers tell each other by `watch`; all of the worker together may have `most` octets waiting.
    pub fn new(watch: Arc<Watch>, shard: Arc<Shard>, crowd: Rc<Crowd>, window: u32, most: usize) -> Self {
        Self {
            raised: u64::from(window).saturating_sub(FIRST_WINDOW),
            watch,
            held: RefCell::new(Held::nothing(shard.clone())),
            shard,
            crowd,
            most: most as u64,
            received: Cell::default(),
            taken: Cell::default(),
            allowed: Cell::default(),
            whole: Cell::default(),
            open: Cell::default(),
            pause: Rc::default(),
        }
    }

    /// Whether to read from the connection now; whoever may not is woken when it may be so.
    pub fn may_read(&self, context: &Context<'_>) -> bool {
        if self.open.get() == 0 && self.whole.get() == 0 {
            return true;
        }
        let waits = self.shard.held();
        let bound = if self.whole.get() > 0 { self.most / 2 } else { self.most / 4 * 3 };
        if waits < bound {
            return true;
        }
        *self.pause.waker.borrow_mut() = Some(context.waker().clone());
        if !self.pause.is_listed.replace(true) {
            self.shard.uploads_paused.increment();
            self.crowd.0.borrow_mut().push(self.pause.clone());
        }
        false
    }

    /// Something was read from the connection.
    pub fn look(&self) {
        let received = self.watch.uploaded();
        if received != self.received.get() || self.watch.uploading() > 0 || self.whole.get() > 0 {
            self.received.set(received);
            self.count();
        }
    }

    /// The client was allowed to send so many octets more.
    pub fn allow(&self, octets: u64) {
        self.allowed.set(self.allowed.get() + octets);
        self.count();
    }

    /// The connection's turn is over: all streams that have begun are known, so where no upload is open none waits.
    pub fn settle(&self) {
        if self.open.get() == 0 && self.whole.get() > 0 {
            self.taken.set(self.received.get());
            self.count();
        }
    }

    fn take(&self, octets: u64) {
        // Not more than there is: what came before an upload was known is not counted.
        self.taken.set((self.taken.get() + octets).min(self.received.get()));
        self.count();
    }

    fn count(&self) {
        let received = self.received.get();
        let let_go = self.allowed.get().saturating_sub(self.raised);
        let whole = received.saturating_sub(self.taken.get().max(let_go));
        self.whole.set(whole);
        let all = whole + u64::from(self.watch.uploading());
        self.held.borrow_mut().set(usize::try_from(all).unwrap_or(usize::MAX));
        if whole == 0 {
            self.pause.wake();
        }
        if !self.crowd.is_empty() && self.shard.held() < self.most / 2 {
            self.crowd.wake();
        }
    }
}

/// Whoever takes one upload.
#[derive(Debug)]
pub struct Taker(Rc<Uploads>);

impl Taker {
    /// Of one more upload.
    pub fn new(uploads: Rc<Uploads>) -> Self {
        uploads.open.set(uploads.open.get() + 1);
        Self(uploads)
    }

    /// So many octets were taken.
    pub fn took(&self, octets: usize) {
        self.0.take(octets as u64);
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

/// A request's body as it comes from the client, counted where it waits.
#[derive(Debug)]
pub struct Upload {
    incoming: Incoming,
    taker: Option<Taker>,
}

impl Upload {
    /// A body; over HTTP/2 one of `uploads`.
    pub fn new(incoming: Incoming, uploads: Option<&Rc<Uploads>>) -> Self {
        let taker = uploads.filter(|_| !incoming.is_end_stream()).cloned().map(Taker::new);
        Self { incoming, taker }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        if let (Some(taker), Poll::Ready(Some(Ok(frame)))) = (&self.taker, &polled)
            && let Some(octets) = frame.data_ref()
        {
            taker.took(octets.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.taker.is_none() {
            return;
        }
        // What waits goes with the stream, and is taken off here: how much of it is this stream's nobody else knows.
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(_))) = Pin::new(&mut *self).poll_frame(&mut context) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1000;
    /// As large as at first, so that nothing is allowed in advance.
    const WINDOW: u32 = 65_535;

    struct Connection {
        watch: Arc<Watch>,
        uploads: Rc<Uploads>,
    }

    impl Connection {
        fn new(shard: &Arc<Shard>, crowd: &Rc<Crowd>) -> Self {
            let watch: Arc<Watch> = Arc::default();
            Self { uploads: Rc::new(Uploads::new(watch.clone(), shard.clone(), crowd.clone(), WINDOW, MOST)), watch }
        }

        /// So many octets came in all, and so many of a frame that is not whole.
        fn came(&self, octets: u64, partial: u32) {
            self.watch.received_data(octets, partial);
            self.uploads.look();
        }

        fn may_read(&self, waker: &Waker) -> bool {
            self.uploads.may_read(&Context::from_waker(waker))
        }
    }

    struct Flag(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn flag() -> (Arc<Flag>, Waker) {
        let flag = Arc::new(Flag(false.into()));
        (flag.clone(), flag.into())
    }

    impl Flag {
        fn is_up(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    #[test]
    fn what_came_waits_until_it_is_taken_or_let_go() {
        let (shard, crowd) = (Arc::default(), Rc::default());
        let connection = Connection::new(&shard, &crowd);
        let (one, two) = (Taker::new(connection.uploads.clone()), Taker::new(connection.uploads.clone()));
        connection.came(300, 50);
        assert_eq!(shard.held(), 350, "the beginning of a frame waits, too");
        one.took(100);
        assert_eq!(shard.held(), 250);
        // The implementation has let 250 go: of what was taken, and of what it threw away.
        connection.uploads.allow(250);
        assert_eq!(shard.held(), 100);
        drop(one);
        connection.uploads.settle();
        assert_eq!(shard.held(), 100, "the other one is open");
        drop(two);
        connection.came(300, 0);
        connection.uploads.settle();
        assert_eq!(shard.held(), 0);
        drop(connection);
        assert_eq!(shard.held(), 0);
    }

    #[test]
    fn where_much_waits_those_who_have_something_waiting_are_held_up() {
        let (shard, crowd) = (Arc::default(), Rc::default());
        let (one, two) = (Connection::new(&shard, &crowd), Connection::new(&shard, &crowd));
        let plain = Connection::new(&shard, &crowd);
        let (taker, _other) = (Taker::new(one.uploads.clone()), Taker::new(two.uploads.clone()));
        one.came(MOST as u64 / 2 - 1, 0);
        assert!(one.may_read(Waker::noop()));
        one.came(MOST as u64 / 2, 0);
        let (held_up, waker) = flag();
        assert!(!one.may_read(&waker) && two.may_read(Waker::noop()) && plain.may_read(Waker::noop()));
        // Less than half.
        taker.took(1);
        assert!(held_up.is_up() && one.may_read(Waker::noop()));
        // From three quarters on also those who have nothing waiting and may be about to send something.
        one.came(MOST as u64, 0);
        assert!(!two.may_read(Waker::noop()) && plain.may_read(Waker::noop()));
        assert_eq!(shard.uploads_paused.value(), 2);
    }

    #[test]
    fn who_has_nothing_left_waiting_goes_on_although_others_have_much() {
        let (shard, crowd) = (Arc::default(), Rc::default());
        let (one, two) = (Connection::new(&shard, &crowd), Connection::new(&shard, &crowd));
        let (_other, taker) = (Taker::new(one.uploads.clone()), Taker::new(two.uploads.clone()));
        one.came(MOST as u64 / 2, 0);
        two.came(100, 0);
        let ((first, waker), (second, other_waker)) = (flag(), flag());
        assert!(!two.may_read(&waker) && !one.may_read(&other_waker));
        taker.took(60);
        assert!(!first.is_up());
        taker.took(40);
        assert!(first.is_up() && !second.is_up() && two.may_read(Waker::noop()));
        // In the midst of a frame it goes on as well: otherwise nobody could ever take it.
        two.came(100, 10);
        assert!(two.may_read(Waker::noop()));
        crowd.wake();
        assert!(second.is_up() && !one.may_read(Waker::noop()));
    }
}
