//! What happens to agents and masters: lost, back, gone for good, failed over.

use super::{AgentStanding, Order, Scheduler, SchedulerError};

/// What becomes of the tasks of an agent that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Only the agent's process died or the network parted: its tasks go on serving.
    Agent,
    /// The machine died: its tasks die with it.
    Machine,
}

impl Scheduler {
    /// An agent falls silent; returns its host name when the master has given it up. Its tasks are replaced.
    /// Without a name: the agent with the most tasks.
    ///
    /// # Errors
    /// [`SchedulerError::UnknownAgent`].
    pub async fn kill_agent(&self, name: Option<&str>, loss: Loss) -> Result<String, SchedulerError> {
        let (id, hostname) = self.agent(name, |model, id| {
            let agent = &model.agents()[id];
            agent.connected && agent.standing == AgentStanding::Registered
        })?;
        self.feed.try_change(|model, _| model.disconnect_agent(&id).map(|()| ((), Vec::new())))?;
        if loss == Loss::Machine {
            self.live().values().filter(|task| task.agent == id).for_each(|task| task.order(Order::Crash));
        }
        tokio::select! {
            () = self.stopping.cancelled() => return Err(SchedulerError::Stopping),
            () = tokio::time::sleep(self.pace.agent_timeout) => {}
        }
        self.feed.change(|model, now| model.give_agent_up(&id, now));
        Ok(hostname)
    }

    /// A lost agent is back, with the tasks that went on. Without a name: any.
    ///
    /// # Errors
    /// [`SchedulerError::UnknownAgent`].
    pub fn revive_agent(&self, name: Option<&str>) -> Result<String, SchedulerError> {
        let (id, hostname) = self.agent(name, |model, id| !model.agents()[id].connected)?;
        self.feed.change(|model, _| model.return_agent(&id));
        Ok(hostname)
    }

    /// An agent unregisters for good: its tasks end and are lost. Without a name: the one with the most tasks.
    ///
    /// # Errors
    /// [`SchedulerError::UnknownAgent`].
    pub fn remove_agent(&self, name: Option<&str>) -> Result<String, SchedulerError> {
        let (id, hostname) = self.agent(name, |_, _| true)?;
        self.feed.change(|model, now| model.remove_agent(&id, now));
        self.live().values().filter(|task| task.agent == id).for_each(|task| task.order(Order::Crash));
        Ok(hostname)
    }

    /// The leading master dies. Another is elected, answers with what it knows, and hears of the agents one by one;
    /// the dead one comes back as one that waits. Returns the new leader's address once all agents are back.
    ///
    /// # Errors
    /// [`SchedulerError::Stopping`], or [`SchedulerError::Listen`] if the dead master's port was taken meanwhile.
    pub async fn fail_over(&self) -> Result<std::net::SocketAddr, SchedulerError> {
        let _turn = self.failovers.acquire().await.map_err(|_closed| SchedulerError::Stopping)?;
        tokio::select! {
            () = self.stopping.cancelled() => Err(SchedulerError::Stopping),
            done = self.change_leader() => done,
        }
    }

    async fn change_leader(&self) -> Result<std::net::SocketAddr, SchedulerError> {
        let Some(dead) = self.masters.kill_leader().await else { return Err(SchedulerError::Stopping) };
        tokio::time::sleep(self.pace.election).await;
        self.feed.change(|model, _| {
            model.fail_over();
            Vec::new()
        });
        let leader = self.masters.elect_after(dead);
        // With one master only, it is the dead one that starts again and leads.
        self.restart(dead).await?;
        tokio::time::sleep(self.pace.recovery).await;
        let absent: Vec<String> = self.feed.read(|model| {
            let agents = model.agents().iter();
            agents
                .filter(|(_, agent)| agent.connected && agent.standing == AgentStanding::Recovered)
                .map(|(id, _)| id.clone())
                .collect()
        });
        for (position, id) in absent.iter().enumerate() {
            if position == 1 {
                self.masters.finish_recovery();
                self.feed.change(|model, _| model.connect_framework());
            }
            if position > 0 {
                tokio::time::sleep(self.pace.agent_return).await;
            }
            self.feed.change(|model, _| model.return_recovered(id));
        }
        if absent.len() < 2 {
            self.masters.finish_recovery();
            self.feed.change(|model, _| model.connect_framework());
        }
        Ok(self.masters.addresses()[leader])
    }

    async fn restart(&self, index: usize) -> Result<(), SchedulerError> {
        self.masters
            .restart(index)
            .await
            .map_err(|source| SchedulerError::Listen { address: self.masters.addresses()[index].to_string(), source })
    }

    /// The id and host name of the agent meant.
    fn agent(
        &self,
        name: Option<&str>,
        fits: impl Fn(&super::ClusterModel, &str) -> bool,
    ) -> Result<(String, String), SchedulerError> {
        let found = self.feed.read(|model| {
            let tasks_on = |id: &str| model.tasks().values().filter(|task| task.agent == id).count();
            let id = match name {
                Some(name) => model.find_agent(name).filter(|id| fits(model, id)),
                None => {
                    model.agents().keys().map(String::as_str).filter(|id| fits(model, id)).max_by_key(|id| tasks_on(id))
                }
            }?;
            Some((id.to_owned(), model.agents()[id].hostname.clone()))
        });
        found.ok_or_else(|| SchedulerError::UnknownAgent { name: name.unwrap_or("any").to_owned() })
    }
}
