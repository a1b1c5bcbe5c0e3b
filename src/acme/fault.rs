//! Why an order failed, and how to mend it.

use std::time::Duration;

use instant_acme::{Error, Problem};

use crate::config::acme::ChallengeKind;

/// What an authority's types of problems begin with (RFC 8555 section 6.7).
const PREFIX: &str = "urn:ietf:params:acme:error:";

/// Why an order failed.
#[derive(Debug, thiserror::Error)]
pub enum OrderFault {
    /// The authority cannot be asked, or knows no account of ours: no order can succeed now.
    #[error("{0}")]
    Authority(String),
    /// It does not know our account any more.
    #[error("{0}")]
    Account(String),
    /// It refuses this order.
    #[error("{0}")]
    Refused(String),
    /// It could not see that the hosts lead here.
    #[error("{0}")]
    Invalid(String),
    /// What it issued, or the folder.
    #[error("the certificate cannot be kept: {0}")]
    Keep(#[from] std::io::Error),
    /// No end.
    #[error("the order takes longer than {} minutes", .0.as_secs() / 60)]
    Timeout(Duration),
}

impl OrderFault {
    /// What the authority said while the account, the directory or an order was asked for.
    pub fn of(error: &Error, challenge: ChallengeKind) -> Self {
        match error {
            Error::Api(problem) => Self::of_problem(problem, challenge),
            Error::Timeout(_) => {
                Self::Refused("the authority does not finish the order; it is asked again later".into())
            }
            Error::Str(what) => Self::Refused(format!("the authority's answer is not as expected: {what}")),
            Error::Unsupported(what) => Self::Refused(format!("the authority does not support: {what}")),
            error => {
                let mend = "check `directory`, `ca` and whether this machine may connect to it";
                Self::Authority(format!("the authority cannot be asked: {error}; {mend}"))
            }
        }
    }

    fn of_problem(problem: &Problem, challenge: ChallengeKind) -> Self {
        let said = said(problem, challenge);
        match kind(problem) {
            "accountDoesNotExist" => Self::Account(said),
            "serverInternal"
            | "externalAccountRequired"
            | "userActionRequired"
            | "badPublicKey"
            | "badSignatureAlgorithm"
            | "invalidContact"
            | "unsupportedContact" => Self::Authority(said),
            _ => Self::Refused(said),
        }
    }

    /// Whether all orders of the authority have to wait.
    pub fn is_of_authority(&self) -> bool {
        matches!(self, Self::Authority(_) | Self::Account(_))
    }
}

/// The last part of a problem's type.
fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix(PREFIX).unwrap_or(kind)
}

/// What a problem says, and the mend where one is known.
pub fn said(problem: &Problem, challenge: ChallengeKind) -> String {
    let kind = kind(problem);
    let detail = problem.detail.as_deref().unwrap_or("no details");
    let more: String = problem.subproblems.iter().map(|part| format!(" [{part}]")).collect();
    let text = format!("the authority says {kind:?}: {detail}{more}; {}", mend(kind, challenge));
    // It is somebody else's text: one line of a bounded length.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}

fn mend(kind: &str, challenge: ChallengeKind) -> &'static str {
    match (kind, challenge) {
        ("connection", ChallengeKind::Http01) => {
            "let it reach port 80 of the host's addresses, and a listener in clear text here answer there"
        }
        ("connection" | "tls", ChallengeKind::TlsAlpn01) => {
            "let it reach port 443 of the host's addresses, and a listener with TLS here answer there"
        }
        ("dns", _) => "make the host's names (A, AAAA) lead here",
        ("unauthorized" | "incorrectResponse", _) => {
            "another server answers for the host: make its names lead here, and all instances behind them share the folder"
        }
        ("caa", _) => "let the host's CAA records name this authority",
        ("rateLimited", _) => "it is asked again when it allows that; order for fewer hosts, or raise `retry`",
        ("rejectedIdentifier" | "unsupportedIdentifier", _) => "it does not certify this host: remove it",
        ("externalAccountRequired", _) => "set `external_account` to what it gave its customer",
        ("userActionRequired", _) => "it wants something done on its site, perhaps new terms agreed to",
        ("invalidContact" | "unsupportedContact", _) => "change `contacts`",
        ("accountDoesNotExist", _) => "the account is put aside and another one made",
        ("unauthorizedAccount" | "malformed", _) => "check `external_account` and `directory`",
        ("badNonce" | "serverInternal", _) => "it is asked again later",
        _ => "see what the authority's documentation says of it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str) -> Problem {
        let text = format!(r#"{{"type": "{PREFIX}{kind}", "detail": "two\nlines", "status": 400}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn problems_are_told_in_one_line_with_their_mend() {
        let text = said(&problem("connection"), ChallengeKind::Http01);
        assert!(text.contains("two lines") && text.contains("port 80") && !text.contains('\n'), "{text}");
        assert!(said(&problem("connection"), ChallengeKind::TlsAlpn01).contains("port 443"));
        assert!(said(&problem("new"), ChallengeKind::Http01).contains("documentation"));
    }

    #[test]
    fn only_what_is_the_authoritys_stops_all_orders() {
        let of = |kind: &str| OrderFault::of(&Error::Api(problem(kind)), ChallengeKind::Http01);
        assert!(of("serverInternal").is_of_authority() && of("accountDoesNotExist").is_of_authority());
        assert!(!of("rateLimited").is_of_authority() && !of("rejectedIdentifier").is_of_authority());
        assert!(OrderFault::of(&Error::Other("x".into()), ChallengeKind::Http01).is_of_authority());
    }
}
