//! Large buffers that a thread's connections share: one is taken while octets are in it, and none by who waits.
//!
//! What has to wait because the other side does not read may keep a buffer of its own size instead.

use std::cell::RefCell;

/// Octets read at once: bodies cost half as much as with 16 KiB.
pub const SIZE: usize = 128 * 1024;
/// Buffers that a thread keeps for later; whoever needs more at once allocates them.
const KEPT: usize = 4;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer, given back when this is dropped.
#[derive(Debug)]
pub struct Scratch(Option<Box<[u8]>>);

impl Scratch {
    /// A buffer with anything in it.
    pub fn take() -> Self {
        let known = FREE.with_borrow_mut(Vec::pop);
        Self(Some(known.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())))
    }

    /// One that has just room for these octets, and them in it.
    pub fn holding(bytes: &[u8]) -> Self {
        Self(Some(bytes.into()))
    }

    /// How large it is.
    pub fn size(&self) -> usize {
        self.bytes().len()
    }

    /// Its octets.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Its octets, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT && buffer.len() == SIZE {
                free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_not_without_bound() {
        let first = Scratch::take();
        let place = first.bytes().as_ptr();
        drop(first);
        assert_eq!(Scratch::take().bytes().as_ptr(), place);
        drop(Scratch::holding(b"x"));
        assert_eq!(FREE.with_borrow(|free| free.iter().filter(|buffer| buffer.len() < SIZE).count()), 0);
        drop((0..10).map(|_| Scratch::take()).collect::<Vec<_>>());
        assert_eq!(FREE.with_borrow(Vec::len), KEPT);
    }
}
