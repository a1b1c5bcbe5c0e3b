//! Keeps the numbers right while nobody asks: replaces what ended or was lost, ends what came back too many.

use super::{Scheduler, SchedulerError, wanted};

impl Scheduler {
    /// Runs until the scheduler is stopped.
    pub(in crate::demo) async fn keep_numbers(&self) {
        let mut revisions = self.feed.revisions();
        loop {
            for app in self.turns.keys() {
                match self.correct(app).await {
                    Ok(()) => {}
                    Err(SchedulerError::Stopping) => return,
                    Err(error) => tracing::warn!(%error, app, "the demo's scheduler could not replace an instance"),
                }
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                changed = revisions.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Starts what is missing, ends what is too much; an app that is being operated on sees to that itself.
    async fn correct(&self, app: &str) -> Result<(), SchedulerError> {
        let wants = self.app(app)?.instances;
        let present = self.feed.read(|model| wanted(model, app, |_| true).len());
        let agents = self.feed.read(super::emptiest_agent);
        if present == wants || (present < wants && agents.is_none()) {
            return Ok(());
        }
        let Ok(_turn) = self.turns[app].try_acquire() else { return Ok(()) };
        self.start_missing(app).await?;
        self.kill_surplus(app)?;
        Ok(())
    }
}
