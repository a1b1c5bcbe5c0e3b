//! What clients have sent over HTTP/2 and nobody has taken yet.
//!
//! What comes for a stream waits until whoever serves it asks for it: as much as the windows allow, a MiB a connection,
//! which of many connections is more than any machine has. So it is counted with everything else that waits
//! ([`super::held`]), and where much waits already, the sockets of those who send more are left alone until something has
//! been taken: TCP holds them up, and their clients keep what they have.
//!
//! - From half of what may wait (`proxy.limits.buffer_size`) on, nothing is read from a connection that has something
//!   waiting: whatever it has can be taken without that.
//! - From three quarters on, nothing is read from a connection with any upload that is not over.
//!
//! Connections without uploads are never held up, so that requests go on while uploads wait; the last quarter is theirs.
//! Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::held::Held;
use super::metrics::Shard;

/// The uploads of one connection.
#[derive(Debug)]
pub struct Uploads {
    shard: Arc<Shard>,
    crowd: Rc<Crowd>,
    /// The most that may wait, all of a worker together.
    most: u64,
    held: RefCell<Held>,
    /// What waits in whole frames: all of it can be taken.
    whole: Cell<usize>,
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
    /// Of one connection; all of the worker together may have `most` octets waiting.
    pub fn new(shard: Arc<Shard>, crowd: Rc<Crowd>, most: usize) -> Self {
        Self {
            held: RefCell::new(Held::nothing(shard.clone())),
            shard,
            crowd,
            most: most as u64,
            whole: Cell::default(),
            pause: Rc::default(),
        }
    }

    /// Whether to read from the connection now; whoever may not is woken when it may be so. `has_open`: whether there is an
    /// upload that is not over, asked only where it matters.
    pub fn may_read(&self, context: &Context<'_>, has_open: impl FnOnce() -> bool) -> bool {
        let waits = self.shard.held();
        let bound = if self.whole.get() > 0 { self.most / 2 } else { self.most / 4 * 3 };
        if waits < bound || (self.whole.get() == 0 && !has_open()) {
            return true;
        }
        *self.pause.waker.borrow_mut() = Some(context.waker().clone());
        if !self.pause.is_listed.replace(true) {
            self.shard.uploads_paused.increment();
            self.crowd.0.borrow_mut().push(self.pause.clone());
        }
        false
    }

    /// So many octets wait in whole frames, and so many of one that has not come whole.
    pub fn wait(&self, whole: usize, partial: usize) {
        self.whole.set(whole);
        self.held.borrow_mut().set(whole + partial);
        if whole == 0 {
            self.pause.wake();
        }
        if !self.crowd.is_empty() && self.shard.held() < self.most / 2 {
            self.crowd.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1000;

    struct Connection {
        uploads: Uploads,
        has_open: bool,
    }

    fn connection(shard: &Arc<Shard>, crowd: &Rc<Crowd>, has_open: bool) -> Connection {
        Connection { uploads: Uploads::new(shard.clone(), crowd.clone(), MOST), has_open }
    }

    impl Connection {
        fn wait(&self, whole: usize, partial: usize) {
            self.uploads.wait(whole, partial);
        }
    }

    fn may_read(connection: &Connection, waker: &Waker) -> bool {
        connection.uploads.may_read(&Context::from_waker(waker), || connection.has_open)
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
    fn what_waits_is_counted() {
        let (shard, crowd) = (Arc::default(), Rc::default());
        let uploads = connection(&shard, &crowd, true);
        uploads.wait(300, 50);
        assert_eq!(shard.held(), 350, "the beginning of a frame waits, too");
        uploads.wait(200, 0);
        assert_eq!(shard.held(), 200);
        drop(uploads);
        assert_eq!(shard.held(), 0);
    }

    #[test]
    fn where_much_waits_those_who_have_something_waiting_are_held_up() {
        let (shard, crowd) = (Arc::default(), Rc::default());
        let (one, two) = (connection(&shard, &crowd, true), connection(&shard, &crowd, true));
        let plain = connection(&shard, &crowd, false);
        one.wait(MOST / 2 - 1, 0);
        assert!(may_read(&one, Waker::noop()));
        one.wait(MOST / 2, 0);
        let (held_up, waker) = flag();
        assert!(!may_read(&one, &waker) && may_read(&two, Waker::noop()) && may_read(&plain, Waker::noop()));
        // Less than half.
        one.wait(MOST / 2 - 1, 0);
        assert!(held_up.is_up() && may_read(&one, Waker::noop()));
        // From three quarters on also those who have nothing waiting and may be about to send something.
        one.wait(MOST, 0);
        assert!(!may_read(&two, Waker::noop()) && may_read(&plain, Waker::noop()));
        assert_eq!(shard.uploads_paused.value(), 2);
    }

    #[test]
    fn who_has_nothing_left_waiting_goes_on_although_others_have_much() {
        let (shard, crowd) = (Arc::default(), Rc::default());
        let (one, two) = (connection(&shard, &crowd, true), connection(&shard, &crowd, true));
        one.wait(MOST / 2, 0);
        two.wait(100, 0);
        let ((first, waker), (second, other_waker)) = (flag(), flag());
        assert!(!may_read(&two, &waker) && !may_read(&one, &other_waker));
        two.wait(40, 0);
        assert!(!first.is_up());
        two.wait(0, 0);
        assert!(first.is_up() && !second.is_up() && may_read(&two, Waker::noop()));
        // In the midst of a frame it goes on as well: otherwise nobody could ever take it.
        two.wait(0, 10);
        assert!(may_read(&two, Waker::noop()));
        crowd.wake();
        assert!(second.is_up() && !may_read(&one, Waker::noop()));
    }
}
