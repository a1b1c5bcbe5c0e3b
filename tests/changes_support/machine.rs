//! What the machine itself does to times: how late a thread runs that asked to be woken. Where others use the machine too, no
//! request can be answered sooner than whoever answers it is let run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the thread sleeps.
const NAP: Duration = Duration::from_millis(1);

/// A thread that sleeps, over and over.
pub struct Sleeper {
    runs: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Sleeper {
    /// Begins.
    pub fn start() -> Self {
        let runs = Arc::new(AtomicBool::new(true));
        let goes_on = runs.clone();
        let thread = std::thread::spawn(move || {
            let mut late = Vec::new();
            while goes_on.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(NAP);
                late.push(begun.elapsed().saturating_sub(NAP));
            }
            late
        });
        Self { runs, thread }
    }

    /// How much later than it asked it was woken, each time.
    pub fn stop(self) -> Vec<Duration> {
        self.runs.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
