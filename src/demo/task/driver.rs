//! The life of a task: what an executor does and tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::{BACKLOG, LiveTask, Order, Surroundings, serve};
use crate::demo::cluster::TaskState;
use crate::demo::serve::Closing;

/// How a task's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Crashed,
}

/// Drives a launched task to its end and tells everything on the way.
pub(crate) async fn drive(task: Arc<LiveTask>, socket: TcpSocket, around: Surroundings) {
    let end = live(&task, socket, &around).await;
    let (state, message) = match end {
        Ok(End::Killed) => (TaskState::Killed, "Command terminated with signal Terminated".to_owned()),
        Ok(End::Crashed) => (TaskState::Failed, "Command terminated with signal Segmentation fault".to_owned()),
        Err(error) => (TaskState::Failed, format!("cannot listen on {}: {error}", task.address)),
    };
    around.feed.change(|model, now| model.update(&task.id, state, Some(&message), now));
}

async fn live(task: &Arc<LiveTask>, socket: TcpSocket, around: &Surroundings) -> std::io::Result<End> {
    let tell = |state| around.feed.change(|model, now| model.update(&task.id, state, None, now));
    for state in [TaskState::Starting, TaskState::Running] {
        tokio::select! {
            () = sleep(around.pace.launch) => {}
            () = task.ordered(Order::Kill) => return Ok(end_early(task)),
        }
        if state == TaskState::Starting {
            tell(state);
        }
    }
    // Nobody may hear of RUNNING before the port answers.
    let listener = socket.listen(BACKLOG)?;
    let (closing, tasks) = (Closing::default(), TaskTracker::new());
    // Should this future be dropped, the server ends with it.
    let _cut = closing.cut.clone().drop_guard();
    tasks.spawn(serve(task.clone(), listener, closing.clone()));
    tasks.close();
    tell(TaskState::Running);
    tokio::select! {
        () = check_health(task, around) => {}
        () = task.ordered(Order::Kill) => {}
    }
    Ok(finish(task, around, &closing, &tasks).await)
}

fn end_early(task: &LiveTask) -> End {
    if *task.orders.borrow() == Order::Crash { End::Crashed } else { End::Killed }
}

/// Serves on for the grace period, then finishes what is in flight; a crash cuts all of that short.
async fn finish(task: &LiveTask, around: &Surroundings, closing: &Closing, tasks: &TaskTracker) -> End {
    let in_good_order = async {
        around.feed.change(|model, now| model.update(&task.id, TaskState::Killing, None, now));
        sleep(task.app.kill_grace).await;
        closing.drain.cancel();
        tokio::select! {
            () = tasks.wait() => {}
            () = sleep(around.pace.finish_limit) => {}
        }
    };
    let end = tokio::select! {
        // A crash that was ordered comes before anything is told of an orderly end.
        biased;
        () = task.ordered(Order::Crash) => End::Crashed,
        () = in_good_order => End::Killed,
    };
    closing.cut.cancel();
    tasks.wait().await;
    end
}

/// Checks health as an executor does: success is told once, failure every time.
async fn check_health(task: &LiveTask, around: &Surroundings) {
    let mut told = None;
    let started = Instant::now();
    let mut next = started;
    loop {
        next += around.pace.health_interval;
        sleep_until(next).await;
        task.in_sick_phase.store(is_sick_phase(task, started.elapsed()), Ordering::Relaxed);
        let healthy = !task.is_unwell();
        if task.app.checked && !(healthy && told == Some(true)) {
            around.feed.change(|model, now| model.verdict(&task.id, healthy, now));
            told = Some(healthy);
        }
    }
}

/// The last third of each period, shifted for every other task so that not all are sick at once.
fn is_sick_phase(task: &LiveTask, age: Duration) -> bool {
    let Some(third) = task.app.sick_for.filter(|third| !third.is_zero()) else { return false };
    let shift = if task.address.port().is_multiple_of(2) { Duration::ZERO } else { third };
    (age + shift).as_nanos() / third.as_nanos() % 3 == 2
}
