//! Marathon as the scheduler of real tasks: it starts and kills them as Marathon does, tells of it by events and documents,
//! and of its deployments. Two instances, of which one leads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::demo::app::AppSpec;
use serde_json::{Value, json};

use super::marathon_common::server::{Marathon, app};
use super::situation_support::{Cluster, GRACE, Live, Twins};

/// What lies at least between Marathon's finding a task healthy and the end of the one that it replaces: Marathon asks the
/// master, the master the agent, the agent the executor, and the executor ends the task.
const KILL_TAKES: Duration = Duration::from_millis(300);

/// How old tasks are killed.
#[derive(Clone, Copy)]
pub enum Kill {
    /// They are told to end, and have their grace.
    WithGrace,
    /// They are gone at once, with whatever they have in hand.
    AtOnce,
}

/// A running Marathon.
pub struct Play {
    cluster: Arc<Cluster>,
    instances: [Marathon; 2],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leader: usize,
    apps: BTreeMap<String, App>,
    /// Deployments under way.
    deployments: Vec<Value>,
    /// Versions and deployments that were made.
    made: u32,
    /// A new leader has no result of any check yet.
    is_blind: bool,
}

struct App {
    spec: AppSpec,
    version: String,
    tasks: Vec<Task>,
}

struct Task {
    live: Live,
    version: String,
    state: &'static str,
    alive: bool,
}

impl Play {
    /// Starts both instances; the first one leads.
    pub async fn start(cluster: Arc<Cluster>) -> Self {
        let instances = [Marathon::start().await, Marathon::start().await];
        let info = json!({ "name": "marathon", "frameworkId": cluster.framework(),
            "marathon_config": { "framework_name": "marathon" } });
        for instance in &instances {
            instance.state().instead.insert("/v2/info".into(), (200, info.to_string()));
        }
        let play = Self { cluster, instances, state: Mutex::default() };
        play.lead();
        play
    }

    /// What lets the program follow it; `cluster` is the cluster of its tasks.
    pub fn source(&self, cluster: &str) -> String {
        let urls: Vec<String> = self.instances.iter().map(Marathon::url).collect();
        format!(
            "[[sources.marathon]]\nname = \"marathon\"\ncluster = \"{cluster}\"\nurls = {urls:?}\nmax_backoff = \"200ms\"\n"
        )
    }

    /// Rolls out a version of both apps with so many tasks each: a new task is started and found healthy, then an old one is
    /// killed, until all are new.
    pub fn deploy(&self, apps: &Twins, count: usize, kill: Kill) {
        let deployment = self.begin(apps, "RestartApplication");
        for number in 0..count {
            let new: Vec<String> = apps.0.iter().map(|app| self.launch(app, number)).collect();
            new.iter().for_each(|id| self.find_healthy(id));
            self.kill(&self.oldest(apps), kill);
        }
        // Where there were more.
        loop {
            let old = self.oldest(apps);
            if old.is_empty() {
                break;
            }
            self.kill(&old, kill);
        }
        self.end(&deployment);
    }

    /// Scales both apps to so many tasks each.
    pub fn scale(&self, apps: &Twins, count: usize) {
        let deployment = self.begin(apps, "ScaleApplication");
        let running = apps.0.iter().map(|app| self.tasks_of(&app.name).len()).max().unwrap_or_default();
        for number in running..count {
            let new: Vec<String> = apps.0.iter().map(|app| self.launch(app, number)).collect();
            new.iter().for_each(|id| self.find_healthy(id));
        }
        let surplus = apps.0.iter().flat_map(|app| self.tasks_of(&app.name).into_iter().skip(count));
        self.kill(&surplus.collect::<Vec<_>>(), Kill::WithGrace);
        self.end(&deployment);
    }

    /// A task of each of both apps falls over.
    pub fn crash(&self, apps: &Twins) {
        let oldest = apps.0.iter().filter_map(|app| self.tasks_of(&app.name).into_iter().next());
        self.kill(&oldest.collect::<Vec<_>>(), Kill::AtOnce);
    }

    /// The leader dies: nobody tells of anything any more, and nobody answers.
    pub fn lose_leader(&self) {
        for instance in &self.instances {
            instance.state().down = true;
            instance.cut();
        }
    }

    /// The other one leads, and has no results of checks yet.
    pub fn elect(&self) {
        {
            let mut state = self.state.lock().unwrap();
            state.leader = 1 - state.leader;
            state.is_blind = true;
        }
        self.lead();
    }

    /// The leader has checked every task.
    pub fn see(&self) {
        self.state.lock().unwrap().is_blind = false;
        let apps: Vec<String> = self.state.lock().unwrap().apps.keys().cloned().collect();
        apps.iter().for_each(|app| {
            self.publish(app);
            self.tell("health_status_changed_event", json!({ "appId": id(app), "alive": true }));
        });
    }

    /// Whether somebody follows the leader.
    pub fn is_followed(&self) -> bool {
        self.leader().followers() > 0
    }

    fn leader(&self) -> &Marathon {
        &self.instances[self.state.lock().unwrap().leader]
    }

    /// Who leads answers for itself; the other one leads there.
    fn lead(&self) {
        let leads = self.state.lock().unwrap().leader;
        let apps: Vec<String> = self.state.lock().unwrap().apps.keys().cloned().collect();
        apps.iter().for_each(|app| self.publish(app));
        for (number, instance) in self.instances.iter().enumerate() {
            let mut state = instance.state();
            state.leader = (number != leads).then(|| self.instances[leads].address);
            state.down = false;
        }
    }

    fn tell(&self, kind: &str, data: Value) {
        self.leader().tell(kind, data);
    }

    /// Begins a deployment of new definitions, or of a scaling, of both apps.
    fn begin(&self, apps: &Twins, action: &str) -> Value {
        let names: Vec<&str> = apps.0.iter().map(|app| app.name.as_str()).collect();
        let actions: Vec<Value> = names.iter().map(|name| json!({ "action": action, "app": id(name) })).collect();
        let (version, deployment) = {
            let mut state = self.state.lock().unwrap();
            state.made += 1;
            // A moment, as Marathon's versions are: a minute of 2026 each.
            let (hour, minute) = (state.made / 60 % 24, state.made % 60);
            let day = 1 + state.made / 1440;
            let version = format!("2026-01-{day:02}T{hour:02}:{minute:02}:00.000Z");
            let deployment = json!({ "id": format!("deployment-{}", state.made), "version": version,
                "affectedApps": names.iter().map(|name| id(name)).collect::<Vec<_>>(), "affectedPods": [],
                "steps": [{ "actions": actions }], "currentActions": actions, "currentStep": 1, "totalSteps": 1 });
            state.deployments.push(deployment.clone());
            (version, deployment)
        };
        for spec in &apps.0 {
            let mut state = self.state.lock().unwrap();
            let known = state.apps.entry(spec.name.clone()).or_insert_with(|| App {
                spec: spec.clone(),
                version: version.clone(),
                tasks: Vec::new(),
            });
            // Scaling makes no new version of tasks.
            if action == "RestartApplication" {
                (known.spec, known.version) = (spec.clone(), version.clone());
            }
            drop(state);
            self.publish(&spec.name);
        }
        self.tell("deployment_info", event_of(&deployment));
        deployment
    }

    fn end(&self, deployment: &Value) {
        self.state.lock().unwrap().deployments.retain(|known| known["id"] != deployment["id"]);
        self.publish_deployments();
        self.tell("deployment_step_success", event_of(deployment));
        self.tell("deployment_success", json!({ "id": deployment["id"], "plan": event_of(deployment)["plan"] }));
    }

    /// Starts a task of the app's present version; it runs, and is not checked yet.
    fn launch(&self, spec: &AppSpec, number: usize) -> String {
        let live = self.cluster.begin(spec, number % self.cluster.agents());
        let id = live.id.clone();
        {
            let mut state = self.state.lock().unwrap();
            let app = state.apps.get_mut(&spec.name).expect("its deployment has begun");
            let version = app.version.clone();
            app.tasks.push(Task { live, version, state: "TASK_STAGING", alive: false });
        }
        self.changed(&id, |_| {});
        self.with(&id, |task| self.cluster.run(&task.live));
        self.changed(&id, |task| task.state = "TASK_RUNNING");
        id
    }

    fn find_healthy(&self, task: &str) {
        self.with(task, |task| task.alive = true);
        let app = self.publish_of(task);
        self.tell("health_status_changed_event", json!({ "appId": id(&app), "instanceId": task, "alive": true }));
    }

    /// Kills tasks, all at a time.
    fn kill(&self, tasks: &[String], kill: Kill) {
        if let Kill::WithGrace = kill {
            for task in tasks {
                self.with(task, |task| self.cluster.kill(&task.live));
                self.changed(task, |task| task.state = "TASK_KILLING");
            }
        }
        std::thread::sleep(match kill {
            Kill::WithGrace => GRACE,
            Kill::AtOnce => KILL_TAKES,
        });
        for task in tasks {
            let app = self.app_of(task);
            let gone = {
                let mut state = self.state.lock().unwrap();
                let all = &mut state.apps.get_mut(&app).expect("a known app").tasks;
                let at = all.iter().position(|known| known.live.id == *task).expect("a known task");
                all.remove(at)
            };
            match kill {
                Kill::WithGrace => self.cluster.finish(gone.live),
                Kill::AtOnce => self.cluster.crash(gone.live),
            }
            self.publish(&app);
            self.status(&app, task, "TASK_KILLED");
        }
    }

    /// A task of each app that is not of its app's version, where there is one.
    fn oldest(&self, apps: &Twins) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let old = apps.0.iter().filter_map(|spec| {
            let app = state.apps.get(&spec.name)?;
            Some(app.tasks.iter().find(|task| task.version != app.version)?.live.id.clone())
        });
        old.collect()
    }

    fn tasks_of(&self, app: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.apps.get(app).into_iter().flat_map(|app| &app.tasks).map(|task| task.live.id.clone()).collect()
    }

    fn app_of(&self, task: &str) -> String {
        let state = self.state.lock().unwrap();
        let has_it = |app: &App| app.tasks.iter().any(|known| known.live.id == task);
        state.apps.iter().find(|(_, app)| has_it(app)).expect("a known task").0.clone()
    }

    fn with(&self, id: &str, change: impl FnOnce(&mut Task)) {
        let mut state = self.state.lock().unwrap();
        let mut all = state.apps.values_mut().flat_map(|app| &mut app.tasks);
        change(all.find(|task| task.live.id == id).expect("a known task"));
    }

    /// A task is in another state: the documents have it before the event says so.
    fn changed(&self, task: &str, change: impl FnOnce(&mut Task)) {
        self.with(task, change);
        let app = self.publish_of(task);
        let mut state = "";
        self.with(task, |task| state = task.state);
        self.status(&app, task, state);
    }

    fn status(&self, app: &str, task: &str, state: &str) {
        self.tell("status_update_event", json!({ "appId": id(app), "taskId": task, "taskStatus": state }));
    }

    fn publish_of(&self, task: &str) -> String {
        let app = self.app_of(task);
        self.publish(&app);
        app
    }

    /// Both instances have the document of an app, and the list of deployments, as they are now.
    fn publish(&self, name: &str) {
        let document = {
            let state = self.state.lock().unwrap();
            self.document(name, &state.apps[name], &state)
        };
        self.instances.iter().for_each(|instance| instance.put(document.clone()));
        self.publish_deployments();
    }

    fn publish_deployments(&self) {
        let deployments = self.state.lock().unwrap().deployments.clone();
        self.instances.iter().for_each(|instance| instance.state().deployments = Some(deployments.clone()));
    }

    fn document(&self, name: &str, said: &App, state: &State) -> Value {
        let labels: BTreeMap<&str, &str> = said.spec.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
        let tasks = said.tasks.iter().map(|task| {
            let (agent, address) = self.cluster.place(&task.live);
            let results = if task.alive && !state.is_blind { json!([{ "alive": true }]) } else { json!([]) };
            json!({ "id": task.live.id, "appId": id(name), "host": address.ip().to_string(), "slaveId": agent,
                "ports": [address.port()], "state": task.state, "version": task.version,
                "healthCheckResults": results })
        });
        let mut document = app(&id(name), 0, &json!(labels), &tasks.collect::<Vec<_>>());
        document["version"] = said.version.as_str().into();
        document["healthChecks"] = json!([{ "protocol": "HTTP", "portIndex": 0, "path": "/" }]);
        let is_its =
            |known: &&Value| known["affectedApps"].as_array().is_some_and(|apps| apps.contains(&id(name).into()));
        let deployments = state.deployments.iter().filter(is_its).map(|known| json!({ "id": known["id"] }));
        document["deployments"] = deployments.collect();
        document
    }
}

fn id(name: &str) -> String {
    format!("/{name}")
}

/// A deployment as events show it.
fn event_of(deployment: &Value) -> Value {
    json!({ "plan": { "id": deployment["id"], "version": deployment["version"], "steps": deployment["steps"] },
        "currentStep": deployment["steps"][0] })
}
