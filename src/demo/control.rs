//! Acting on a running demo: the commands, their HTTP form, and the client that sends them.
//!
//! The listener is for people on this machine: requests whose `Host` is not a loopback name or address, or that a web
//! page sent (`Origin`), are refused, so that no page in a browser can act on the demo.

mod answer;
mod client;

use std::fmt;
use std::str::FromStr;

pub(super) use answer::Control;
pub use client::{ControlError, send};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Bring an app to so many instances.
    Scale {
        /// The app.
        app: String,
        /// How many.
        instances: usize,
    },
    /// Roll out an app's next version.
    Deploy {
        /// The app.
        app: String,
    },
    /// Crash one instance.
    Crash {
        /// The app, or a task's id.
        app: String,
    },
    /// Let one instance fail its health checks.
    Sicken {
        /// The app, or a task's id.
        app: String,
    },
    /// Let one instance pass its health checks again.
    Heal {
        /// The app, or a task's id.
        app: String,
    },
    /// Kill an agent's process; its tasks go on.
    KillAgent {
        /// Its host name; the one with the most tasks if absent.
        agent: Option<String>,
    },
    /// Kill a machine: the agent and its tasks.
    KillMachine {
        /// Its host name; the one with the most tasks if absent.
        agent: Option<String>,
    },
    /// Bring a killed agent back.
    ReviveAgent {
        /// Its host name; any that is gone if absent.
        agent: Option<String>,
    },
    /// Unregister an agent for good.
    RemoveAgent {
        /// Its host name; the one with the most tasks if absent.
        agent: Option<String>,
    },
    /// Kill the leading master.
    FailOver,
}

/// A line that is no command.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a command: {line:?}; commands are {COMMANDS}")]
pub struct NotACommand {
    line: String,
}

/// What can be typed.
pub const COMMANDS: &str = "s[cale] APP N, d[eploy] APP, c[rash] APP, sick APP, heal APP, a (kill-agent) [AGENT], \
                            m (kill-machine) [AGENT], r[evive-agent] [AGENT], x (remove-agent) [AGENT], f[ailover]";

impl Command {
    /// The path and query that stand for it.
    fn target(&self) -> String {
        let agent = |path: &str, agent: &Option<String>| match agent {
            Some(agent) => format!("/demo/{path}?agent={}", escape(agent)),
            None => format!("/demo/{path}"),
        };
        match self {
            Self::Scale { app, instances } => format!("/demo/scale?app={}&n={instances}", escape(app)),
            Self::Deploy { app } => format!("/demo/deploy?app={}", escape(app)),
            Self::Crash { app } => format!("/demo/crash?app={}", escape(app)),
            Self::Sicken { app } => format!("/demo/sick?app={}", escape(app)),
            Self::Heal { app } => format!("/demo/heal?app={}", escape(app)),
            Self::KillAgent { agent: name } => agent("kill-agent", name),
            Self::KillMachine { agent: name } => agent("kill-machine", name),
            Self::ReviveAgent { agent: name } => agent("revive-agent", name),
            Self::RemoveAgent { agent: name } => agent("remove-agent", name),
            Self::FailOver => "/demo/failover".to_owned(),
        }
    }

    /// From its verb and arguments by name.
    fn from_parts(verb: &str, argument: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let app = || argument("app");
        let agent = argument("agent");
        Some(match verb {
            "scale" => Self::Scale { app: app()?, instances: argument("n")?.parse().ok()? },
            "deploy" => Self::Deploy { app: app()? },
            "crash" => Self::Crash { app: app()? },
            "sick" => Self::Sicken { app: app()? },
            "heal" => Self::Heal { app: app()? },
            "kill-agent" => Self::KillAgent { agent },
            "kill-machine" => Self::KillMachine { agent },
            "revive-agent" => Self::ReviveAgent { agent },
            "remove-agent" => Self::RemoveAgent { agent },
            "failover" => Self::FailOver,
            _ => return None,
        })
    }
}

impl FromStr for Command {
    type Err = NotACommand;

    fn from_str(line: &str) -> Result<Self, NotACommand> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let verb = match words.first().copied().unwrap_or_default() {
            "s" => "scale",
            "d" => "deploy",
            "c" => "crash",
            "a" => "kill-agent",
            "m" => "kill-machine",
            "r" => "revive-agent",
            "x" => "remove-agent",
            "f" => "failover",
            verb => verb,
        };
        let argument = |name: &str| {
            let position = if name == "n" { 2 } else { 1 };
            words.get(position).map(|word| (*word).to_owned())
        };
        let not_a_command = || NotACommand { line: line.trim().to_owned() };
        Self::from_parts(verb, argument).ok_or_else(not_a_command)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POST {}", self.target())
    }
}

/// Percent-encodes what is not an unreserved character (RFC 3986 section 2.3).
fn escape(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    text.bytes()
        .map(|octet| if plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") })
        .collect()
}

/// The value of a query's member, percent-decoded.
fn query_value(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    let mut octets = Vec::new();
    let mut rest = value.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digit =
                    |octet: Option<u8>| char::from(octet?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(rest.next())? << 4 | digit(rest.next())?
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str, target: &str) {
        let command: Command = line.parse().unwrap();
        assert_eq!(command.target(), target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let verb = path.strip_prefix("/demo/").unwrap();
        assert_eq!(Command::from_parts(verb, |name| query_value(query, name)), Some(command), "{target}");
    }

    #[test]
    fn commands_are_typed_and_sent() {
        typed("s web 5", "/demo/scale?app=web&n=5");
        typed("deploy web", "/demo/deploy?app=web");
        typed(" c  web\n", "/demo/crash?app=web");
        typed("sick a&b", "/demo/sick?app=a%26b");
        typed("a", "/demo/kill-agent");
        typed("r agent-1", "/demo/revive-agent?agent=agent-1");
        typed("f", "/demo/failover");
        for line in ["", "scale web", "scale web many", "deploy", "what"] {
            assert!(line.parse::<Command>().is_err(), "{line}");
        }
    }

    #[test]
    fn broken_escapes_are_no_values() {
        assert_eq!(query_value("app=%4", "app"), None);
        assert_eq!(query_value("app=%zz", "app"), None);
        assert_eq!(query_value("app=%FF", "app"), None);
    }
}
