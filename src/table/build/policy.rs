//! Who may claim what: the first policy that speaks of a task's framework, principal, role and app decides.
//!
//! An app is who its framework says it is. What a task calls itself by a label (the service that it joins) chooses no policy.

use std::sync::Arc;

use super::task::problem;
use crate::cluster::source::SourceKind;
use crate::config::checked::PolicyConfig;
use crate::labels::host::HostPattern;
use crate::model::app::Names;
use crate::model::framework::FrameworkFacts;
use crate::model::problem::{Problem, ProblemCode};

/// Who claims.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// The task's framework, once it is known.
    pub framework: Option<&'a FrameworkFacts>,
    /// What its app is called.
    pub app: &'a Names,
    /// The role that the task runs in, where its source says it; else it may be any of its framework's.
    pub role: Option<&'a str>,
    /// Who tells of it.
    pub source: SourceKind,
}

/// What is claimed.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The host.
    pub host: &'a HostPattern,
    /// The path prefix.
    pub path: &'a str,
}

/// What the policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The claim stands.
    Allowed,
    /// The framework is not known yet; it is decided again when it is.
    NotYet,
    /// The claim is refused.
    Refused(Box<Problem>),
}

impl Claimant<'_> {
    /// Nobody asks of policies: there are none, or the file is the operator's own word.
    fn is_free(&self, policies: &[PolicyConfig]) -> bool {
        policies.is_empty() || self.source == SourceKind::File
    }
}

/// Checks a claim. Without policies everybody may claim everything; files are the operator's own word.
pub fn check(policies: &[PolicyConfig], who: &Claimant<'_>, claim: &Claim<'_>) -> Decision {
    if who.is_free(policies) {
        return Decision::Allowed;
    }
    let Some(framework) = who.framework else { return Decision::NotYet };
    let refused = |why| refused(framework, who.app, &claim.place(), why);
    let Some(policy) = policies.iter().find(|policy| speaks_of(policy, framework, who)) else {
        return refused(NOBODY);
    };
    if !policy.hosts.iter().any(|allowed| allowed.covers(claim.host)) {
        return refused("the policy does not allow this host");
    }
    let path_allowed = |allowed: &String| crate::table::routes::path_matches(allowed, claim.path);
    if !policy.paths.is_empty() && !policy.paths.iter().any(path_allowed) {
        return refused("the policy does not allow this path");
    }
    Decision::Allowed
}

/// Checks whether a task may be of the service that its labels name, which is not its app's own. The same entry that speaks
/// of the task must speak of an app of that name, and of a framework that is called like the namespace where it is
/// another's.
pub fn check_joining(policies: &[PolicyConfig], who: &Claimant<'_>, namespace: Option<&str>, name: &Names) -> Decision {
    if who.is_free(policies) {
        return Decision::Allowed;
    }
    let Some(framework) = who.framework else { return Decision::NotYet };
    let place = match namespace {
        Some(namespace) => format!("service {namespace}/{}", name.name),
        None => format!("service {}", name.name),
    };
    let refused = |why| refused(framework, who.app, &place, why);
    let Some(policy) = policies.iter().find(|policy| speaks_of(policy, framework, who)) else {
        return refused(NOBODY);
    };
    if namespace.is_some_and(|namespace| !any(&policy.frameworks, namespace)) {
        return refused("the policy that speaks of the task speaks of no such framework");
    }
    if !is_app(&policy.apps, name) {
        return refused("the policy that speaks of the task does not speak of that service");
    }
    Decision::Allowed
}

/// Which of the names that a task would have (relative to `zone`) the policies refuse, and a problem for each. As long as
/// no policy lists names, every task may have its own; once one does, a task that no policy speaks of has none.
pub fn refused_names(
    policies: &[PolicyConfig],
    who: &Claimant<'_>,
    names: &[Arc<str>],
    zone: &str,
) -> Vec<(Arc<str>, Problem)> {
    let Some(framework) = who.framework.filter(|_| policies.iter().any(|policy| !policy.names.is_empty())) else {
        return Vec::new();
    };
    let policy = policies.iter().find(|policy| speaks_of(policy, framework, who));
    let why = match policy {
        Some(policy) if policy.names.is_empty() => return Vec::new(),
        Some(_) => "the policy does not allow this name",
        None => NOBODY,
    };
    let refuse = |name: &Arc<str>| {
        let whole = format!("{name}.{zone}");
        let allowed = policy.is_some_and(|policy| policy.names.iter().any(|pattern| glob(pattern, &whole)));
        let message = format!("{} of framework {} does not get the name {whole}: {why}", who.app.name, framework.name);
        let mend = "change what the task is called, or allow the name in a [[policy]] of the configuration";
        (!allowed).then(|| (name.clone(), problem(ProblemCode::PolicyRefused, whole, &message, mend)))
    };
    names.iter().filter_map(refuse).collect()
}

/// Checks a claim on a port of the proxy.
pub fn check_port(policies: &[PolicyConfig], who: &Claimant<'_>, port: u16) -> Decision {
    if who.is_free(policies) {
        return Decision::Allowed;
    }
    let Some(framework) = who.framework else { return Decision::NotYet };
    let place = format!("port {port}");
    match policies.iter().find(|policy| speaks_of(policy, framework, who)) {
        None => refused(framework, who.app, &place, NOBODY),
        Some(policy) if !policy.ports.is_empty() && !policy.ports.contains(&port) => {
            refused(framework, who.app, &place, "the policy does not allow this port")
        }
        Some(_) => Decision::Allowed,
    }
}

/// Why what no policy speaks of is refused.
const NOBODY: &str = "no policy speaks of this framework and app";

impl Claim<'_> {
    fn place(&self) -> String {
        format!("{}{}", self.host, self.path)
    }
}

fn speaks_of(policy: &PolicyConfig, framework: &FrameworkFacts, who: &Claimant<'_>) -> bool {
    let has_role = || match who.role {
        Some(role) => any(&policy.roles, role),
        None => framework.roles.iter().any(|role| any(&policy.roles, role)),
    };
    any(&policy.frameworks, &framework.name)
        && any(&policy.principals, &framework.principal)
        && is_app(&policy.apps, who.app)
        && (policy.roles.is_empty() || has_role())
}

/// Whether patterns speak of a text; none speak of every one.
fn any(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| glob(pattern, text))
}

/// Whether patterns speak of an app, by its id or by the name of its tasks.
fn is_app(patterns: &[String], app: &Names) -> bool {
    any(patterns, &app.id) || any(patterns, &app.name)
}

fn refused(framework: &FrameworkFacts, app: &Names, place: &str, why: &str) -> Decision {
    Decision::Refused(Box::new(problem(
        ProblemCode::PolicyRefused,
        place,
        &format!("{} of framework {} may not claim {place}: {why}", app.name, framework.name),
        "change the label, or allow the claim in a [[policy]] of the configuration",
    )))
}

/// Whether `text` matches `pattern`, in which a `*` at either end stands for any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern == "*" => true,
        (Some(rest), Some(_)) => text.contains(&rest[..rest.len() - 1]),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "x", true),
            ("web", "web", true),
            ("web", "web2", false),
            ("web*", "web2", true),
            ("*.prod", "web.prod", true),
            ("*eb*", "web2", true),
            ("*eb*", "wob", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn framework() -> FrameworkFacts {
        FrameworkFacts {
            cluster: "c".into(),
            id: "f".into(),
            name: "marathon".into(),
            hostname: "".into(),
            address: None,
            port: None,
            principal: "".into(),
            roles: Box::new(["web".into()]),
            connected: true,
        }
    }

    fn policy(hosts: &[&str], paths: &[&str]) -> PolicyConfig {
        PolicyConfig {
            frameworks: vec!["marathon".into()],
            principals: Vec::new(),
            roles: Vec::new(),
            apps: Vec::new(),
            hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
            paths: paths.iter().map(|path| (*path).into()).collect(),
            ports: Vec::new(),
            names: Vec::new(),
        }
    }

    fn allowed(policies: &[PolicyConfig], host: &str, path: &str) -> bool {
        let (host, framework, app) = (HostPattern::parse(host).unwrap(), framework(), called("web"));
        let who = Claimant { framework: Some(&framework), app: &app, role: None, source: SourceKind::Mesos };
        check(policies, &who, &Claim { host: &host, path }) == Decision::Allowed
    }

    fn called(name: &str) -> Names {
        Names::of_name(&name.into())
    }

    #[test]
    fn hosts_and_paths() {
        assert!(allowed(&[], "a.b", "/"));
        let policies = [policy(&["*.example.com"], &["/app"])];
        assert!(allowed(&policies, "x.example.com", "/app/1"));
        assert!(!allowed(&policies, "x.example.com", "/"));
        assert!(!allowed(&policies, "example.com", "/app"));
        assert!(!allowed(&policies, "*", "/app"));
        assert!(allowed(&policies, "*.a.example.com", "/app"));
    }

    fn refused(policies: &[PolicyConfig], service: &str) -> Vec<String> {
        let names = ["web.marathon".into(), "db.marathon".into()];
        let (framework, app) = (framework(), called(service));
        let who = Claimant { framework: Some(&framework), app: &app, role: None, source: SourceKind::Mesos };
        let refused = refused_names(policies, &who, &names, "mesos");
        refused.into_iter().map(|(name, problem)| format!("{name} {}", problem.at)).collect()
    }

    #[test]
    fn names() {
        let all = ["web.marathon web.marathon.mesos", "db.marathon db.marathon.mesos"];
        assert!(refused(&[], "web").is_empty());
        assert!(refused(&[policy(&[], &[])], "web").is_empty(), "a policy without names leaves them alone");
        let listed = |names: &[&str], apps: &[&str]| PolicyConfig {
            names: names.iter().map(|name| (*name).into()).collect(),
            apps: apps.iter().map(|app| (*app).into()).collect(),
            ..policy(&[], &[])
        };
        assert!(refused(&[listed(&["*.marathon.mesos"], &[])], "web").is_empty());
        assert_eq!(refused(&[listed(&["web.*"], &[])], "web"), all[1..]);
        assert_eq!(refused(&[listed(&["*"], &["web"])], "db"), all, "nobody speaks of it");
        assert!(refused(&[listed(&["x"], &["db"]), policy(&[], &[])], "web").is_empty());
    }

    #[test]
    fn ports() {
        let with = |ports: &[u16]| [PolicyConfig { ports: ports.to_vec(), ..policy(&[], &[]) }];
        let (framework, app) = (framework(), called("web"));
        let who = Claimant { framework: Some(&framework), app: &app, role: None, source: SourceKind::Mesos };
        let allowed = |policies: &[PolicyConfig], port| check_port(policies, &who, port) == Decision::Allowed;
        assert!(allowed(&[], 10_000) && allowed(&with(&[]), 10_000) && allowed(&with(&[10_000]), 10_000));
        assert!(!allowed(&with(&[10_000]), 10_001));
        assert_eq!(check_port(&with(&[1]), &Claimant { framework: None, ..who }, 1), Decision::NotYet);
    }

    #[test]
    fn files_are_the_operators_word_and_unknown_frameworks_wait() {
        let host = HostPattern::parse("a.b").unwrap();
        let (claim, app) = (Claim { host: &host, path: "/" }, called("web"));
        let policies = [policy(&["c.d"], &[])];
        let who = |source| Claimant { framework: None, app: &app, role: None, source };
        assert_eq!(check(&policies, &who(SourceKind::File), &claim), Decision::Allowed);
        assert_eq!(check(&policies, &who(SourceKind::Mesos), &claim), Decision::NotYet);
    }

    #[test]
    fn apps_are_who_their_framework_says() {
        let app = |apps: &[&str]| PolicyConfig {
            apps: apps.iter().map(|app| (*app).into()).collect(),
            ..policy(&["*"], &[])
        };
        let framework = framework();
        let speaks = |apps: &[&str], of: &Names| {
            let who = Claimant { framework: Some(&framework), app: of, role: None, source: SourceKind::Mesos };
            speaks_of(&app(apps), &framework, &who)
        };
        for of in [Names::of_id(&"/team-a/shop".into()), called("shop.team-a")] {
            for apps in [&["/team-a/*"][..], &["*.team-a"], &["shop.team-a"], &["/team-a/shop"], &["x", "*shop*"], &[]]
            {
                assert!(speaks(apps, &of), "{apps:?}");
            }
            for apps in [&["/team-b/*"][..], &["team-a*"], &["/team-a"]] {
                assert!(!speaks(apps, &of), "{apps:?}");
            }
        }
    }

    #[test]
    fn a_tasks_own_role_goes_before_its_frameworks() {
        let framework = FrameworkFacts { roles: Box::new(["team-a".into(), "team-b".into()]), ..framework() };
        let of = PolicyConfig { roles: vec!["team-a".into()], ..policy(&["*"], &[]) };
        for (role, expected) in [(None, true), (Some("team-a"), true), (Some("team-b"), false)] {
            let app = called("web");
            let who = Claimant { framework: Some(&framework), app: &app, role, source: SourceKind::Mesos };
            assert_eq!(speaks_of(&of, &framework, &who), expected, "{role:?}");
        }
    }

    #[test]
    fn who_joins_must_be_spoken_of_by_the_entry_that_speaks_of_the_service() {
        let team = |apps: &[&str], frameworks: &[&str]| PolicyConfig {
            apps: apps.iter().map(|app| (*app).into()).collect(),
            frameworks: frameworks.iter().map(|name| (*name).into()).collect(),
            ..policy(&["*"], &[])
        };
        let framework = framework();
        let joins = |policies: &[PolicyConfig], from: &str, namespace: Option<&str>, to: &str| {
            let app = called(from);
            let who = Claimant { framework: Some(&framework), app: &app, role: None, source: SourceKind::Mesos };
            check_joining(policies, &who, namespace, &called(to)) == Decision::Allowed
        };
        let teams = [team(&["/team-a/*"], &[]), team(&["/team-b/*"], &[])];
        assert!(joins(&[], "x", Some("other"), "y"), "without policies everybody may");
        assert!(joins(&teams, "green.team-a", None, "shop.team-a"));
        assert!(!joins(&teams, "evil.team-b", None, "shop.team-a"));
        assert!(!joins(&teams, "evil.team-b", None, "shop"));
        assert!(!joins(&teams, "nobody", None, "shop.team-a"));
        let of_framework = [team(&[], &["marathon"])];
        assert!(joins(&of_framework, "a", None, "b"));
        assert!(!joins(&of_framework, "a", Some("F-0002"), "b"), "another framework's");
        assert!(joins(&[team(&[], &["marathon", "shared*"])], "a", Some("shared-by-all"), "b"));
    }
}
