//! Who may claim what: the first policy that speaks of a task's framework, principal, role and service decides.

use std::sync::Arc;

use super::task::problem;
use crate::cluster::source::SourceKind;
use crate::config::checked::PolicyConfig;
use crate::labels::host::HostPattern;
use crate::model::framework::FrameworkFacts;
use crate::model::problem::{Problem, ProblemCode};

/// What is claimed.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The service's name.
    pub service: &'a str,
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

/// Checks a claim. Without policies everybody may claim everything; files are the operator's own word.
pub fn check(
    policies: &[PolicyConfig],
    framework: Option<&FrameworkFacts>,
    claim: &Claim<'_>,
    source: SourceKind,
) -> Decision {
    if policies.is_empty() || source == SourceKind::File {
        return Decision::Allowed;
    }
    let Some(framework) = framework else { return Decision::NotYet };
    let refused = |framework, claim: &Claim<'_>, why| refused(framework, claim.service, &claim.place(), why);
    let Some(policy) = policies.iter().find(|policy| speaks_of(policy, framework, claim.service)) else {
        return refused(framework, claim, "no policy speaks of this framework and service");
    };
    if !policy.hosts.iter().any(|allowed| allowed.covers(claim.host)) {
        return refused(framework, claim, "the policy does not allow this host");
    }
    let path_allowed = |allowed: &String| crate::table::routes::path_matches(allowed, claim.path);
    if !policy.paths.is_empty() && !policy.paths.iter().any(path_allowed) {
        return refused(framework, claim, "the policy does not allow this path");
    }
    Decision::Allowed
}

/// Which of the names that a task would have (relative to `zone`) the policies refuse, and a problem for each. As long as
/// no policy lists names, every task may have its own; once one does, a task that no policy speaks of has none.
pub fn refused_names(
    policies: &[PolicyConfig],
    framework: &FrameworkFacts,
    service: &str,
    names: &[Arc<str>],
    zone: &str,
) -> Vec<(Arc<str>, Problem)> {
    if policies.iter().all(|policy| policy.names.is_empty()) {
        return Vec::new();
    }
    let policy = policies.iter().find(|policy| speaks_of(policy, framework, service));
    let why = match policy {
        Some(policy) if policy.names.is_empty() => return Vec::new(),
        Some(_) => "the policy does not allow this name",
        None => "no policy speaks of this framework and service",
    };
    let refuse = |name: &Arc<str>| {
        let whole = format!("{name}.{zone}");
        let allowed = policy.is_some_and(|policy| policy.names.iter().any(|pattern| glob(pattern, &whole)));
        let message = format!("{service} of framework {} does not get the name {whole}: {why}", framework.name);
        let mend = "change what the task is called, or allow the name in a [[policy]] of the configuration";
        (!allowed).then(|| (name.clone(), problem(ProblemCode::PolicyRefused, whole, &message, mend)))
    };
    names.iter().filter_map(refuse).collect()
}

/// Checks a claim on a port of the proxy.
pub fn check_port(
    policies: &[PolicyConfig],
    framework: Option<&FrameworkFacts>,
    service: &str,
    port: u16,
    source: SourceKind,
) -> Decision {
    if policies.is_empty() || source == SourceKind::File {
        return Decision::Allowed;
    }
    let Some(framework) = framework else { return Decision::NotYet };
    let place = format!("port {port}");
    match policies.iter().find(|policy| speaks_of(policy, framework, service)) {
        None => refused(framework, service, &place, "no policy speaks of this framework and service"),
        Some(policy) if !policy.ports.is_empty() && !policy.ports.contains(&port) => {
            refused(framework, service, &place, "the policy does not allow this port")
        }
        Some(_) => Decision::Allowed,
    }
}

impl Claim<'_> {
    fn place(&self) -> String {
        format!("{}{}", self.host, self.path)
    }
}

fn speaks_of(policy: &PolicyConfig, framework: &FrameworkFacts, service: &str) -> bool {
    let any = |patterns: &[String], text: &str| patterns.is_empty() || patterns.iter().any(|p| glob(p, text));
    any(&policy.frameworks, &framework.name)
        && any(&policy.principals, &framework.principal)
        && any(&policy.apps, service)
        && (policy.roles.is_empty() || framework.roles.iter().any(|role| any(&policy.roles, role)))
}

fn refused(framework: &FrameworkFacts, service: &str, place: &str, why: &str) -> Decision {
    Decision::Refused(Box::new(problem(
        ProblemCode::PolicyRefused,
        place,
        &format!("{service} of framework {} may not claim {place}: {why}", framework.name),
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
        let host = HostPattern::parse(host).unwrap();
        let claim = Claim { service: "web", host: &host, path };
        check(policies, Some(&framework()), &claim, SourceKind::Mesos) == Decision::Allowed
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
        let refused = refused_names(policies, &framework(), service, &names, "mesos");
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
        let allowed = |policies: &[PolicyConfig], port| {
            check_port(policies, Some(&framework()), "web", port, SourceKind::Mesos) == Decision::Allowed
        };
        assert!(allowed(&[], 10_000) && allowed(&with(&[]), 10_000) && allowed(&with(&[10_000]), 10_000));
        assert!(!allowed(&with(&[10_000]), 10_001));
        assert_eq!(check_port(&with(&[1]), None, "web", 1, SourceKind::Mesos), Decision::NotYet);
    }

    #[test]
    fn files_are_the_operators_word_and_unknown_frameworks_wait() {
        let host = HostPattern::parse("a.b").unwrap();
        let claim = Claim { service: "web", host: &host, path: "/" };
        let policies = [policy(&["c.d"], &[])];
        assert_eq!(check(&policies, None, &claim, SourceKind::File), Decision::Allowed);
        assert_eq!(check(&policies, None, &claim, SourceKind::Mesos), Decision::NotYet);
    }
}
