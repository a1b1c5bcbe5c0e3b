//! `pointsman demo`: the cluster, its story line by line, and somebody who types.

use std::time::Instant;

use tokio::sync::mpsc;

use super::control::Command;
use super::feed::Events;
use super::narrate::{Addresses, Narrator, opening};
use super::start::{DemoCluster, DemoError};
use super::terminal::{Terminal, Typed};

/// Lines that may wait to be said.
const LINES: usize = 256;

/// What whoever runs the servers beside the cluster hands in.
#[derive(Debug)]
pub struct Hooks {
    /// Where the servers are.
    pub addresses: Addresses,
    /// Lines that others have to say, about the table's versions for one; see [`lines`].
    pub lines: mpsc::Receiver<String>,
}

/// A bounded way to say lines; when it is full, say nothing.
pub fn lines() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
    mpsc::channel(LINES)
}

/// Tells what happens and does what is typed, until Ctrl-C, SIGTERM or `q`. Then stops the cluster.
///
/// `say` is given one line at a time, without the newline.
///
/// # Errors
/// [`DemoError::Signals`].
pub async fn run(cluster: DemoCluster, mut hooks: Hooks, mut say: impl FnMut(&str)) -> Result<(), DemoError> {
    let mut events = cluster.feed().observe();
    let mut narrator = Narrator::default();
    cluster.feed().read(|model| narrator.learn(&model.snapshot()));
    opening(cluster.masters(), cluster.control(), &hooks.addresses).lines().for_each(&mut say);
    let started = Instant::now();
    let mut say = move |line: &str| say(&format!("{:>8.2}s  {line}", started.elapsed().as_secs_f64()));
    let told = tell(&cluster, &mut events, &mut hooks.lines, &mut narrator, &mut say).await;
    cluster.stop().await;
    told
}

async fn tell(
    cluster: &DemoCluster,
    events: &mut Events,
    lines: &mut mpsc::Receiver<String>,
    narrator: &mut Narrator,
    say: &mut impl FnMut(&str),
) -> Result<(), DemoError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DemoError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Signals)?;
    let mut terminal = Terminal::open();
    // Operations go on while others are typed; all end with this set.
    let mut operations = tokio::task::JoinSet::new();
    loop {
        // All branches are cancel safe: they receive, or wait for readiness.
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            Some(event) = events.recv() => {
                if let Some(line) = narrator.line(&event) {
                    say(&line);
                }
            }
            Some(line) = lines.recv() => say(&line),
            Some(done) = operations.join_next(), if !operations.is_empty() => match done {
                Ok(Ok(done)) => say(&format!("done: {done}")),
                Ok(Err(error)) => say(&format!("not done: {error}")),
                Err(error) => say(&format!("not done: {error}")),
            },
            typed = terminal.next() => match typed {
                Typed::Quit => return Ok(()),
                Typed::Line(line) => match line.parse::<Command>() {
                    Ok(command) => {
                        let scheduler = cluster.scheduler().clone();
                        operations.spawn(async move { scheduler.run(command).await });
                    }
                    Err(error) => say(&error.to_string()),
                },
            },
        }
    }
}
