//! How many requests at a time the tasks of a service take, and for how long one may wait.

use std::time::Duration;

/// What a task's labels say of it; `None`: as the configuration has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounds {
    /// Requests under way at the task, all workers together; zero: any number.
    pub max_requests: Option<u32>,
    /// Requests of the service that wait at a worker while all its tasks are full.
    pub max_queue: Option<u32>,
    /// How long one waits at most.
    pub queue_time: Option<Duration>,
    /// The time for the beginning of an answer, all attempts together.
    pub timeout: Option<Duration>,
}

impl Bounds {
    /// Whether labels say anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
