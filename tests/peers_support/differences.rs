//! Where the answers differ, and why ours are as they are. What is not listed here fails the test.

/// A difference to one peer, or to both.
pub struct Difference {
    pub peers: &'static [&'static str],
    /// Names of cases; a `*` at the end stands for whatever follows.
    pub cases: &'static [&'static str],
    /// What differs; `*`: everything.
    pub aspects: &'static [&'static str],
    pub why: &'static str,
}

const NGINX: &[&str] = &["nginx"];
const HAPROXY: &[&str] = &["haproxy"];
const BOTH: &[&str] = &["nginx", "haproxy"];

/// Cases that a peer does not answer in time.
pub const UNANSWERED: &[(&str, &str, &str)] = &[
    (
        "nginx",
        "answer /early",
        "nginx 1.22 takes 103 for the answer itself and waits for its content (RFC 9110 section 15.2: one or more may precede it)",
    ),
    ("nginx", "answer /continue", "the same with 100"),
];

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        peers: NGINX,
        cases: &["trace"],
        aspects: &[
            "end",
            "answer line",
            "answer content",
            "answer allow",
            "answer content-length",
            "answer content-type",
        ],
        why: "both refuse it with a page of their own; ours says which methods there are, as RFC 9110 section 15.5.6 has it of \
              405, and goes on with the connection, since nothing was misunderstood",
    },
    Difference {
        peers: HAPROXY,
        cases: &["trace"],
        aspects: &["*"],
        why: "HAProxy passes it on; the answer shows what the request carried (RFC 9110 section 9.3.8: a client must not send \
              secrets in it, but cookies and what proxies add go along unasked)",
    },
    Difference {
        peers: NGINX,
        cases: &["options of the server"],
        aspects: &["*"],
        why: "nginx refuses it; RFC 9112 section 3.2.4 lets a client ask the server as a whole, and the server behind is that",
    },
    Difference {
        peers: NGINX,
        cases: &["chunks*", "large chunks", "pipelined behind bodies"],
        aspects: &["request content-length"],
        why: "nginx reads a body to its end and sends it on with a length; ours passes it on as it comes, so that nothing waits \
              and nothing is kept on a disk. Codings are of one hop: the content is the same (RFC 9112 section 6.1)",
    },
    Difference {
        peers: NGINX,
        cases: &["chunks and trailers"],
        aspects: &["request trailers"],
        why: "nginx drops trailers; RFC 9110 section 6.5.1 lets whoever passes a message on keep them, and gRPC lives by it",
    },
    Difference {
        peers: NGINX,
        cases: &["trailers are wanted"],
        aspects: &["answer trailers"],
        why: "nginx drops trailers, also those that a client has asked for by `TE: trailers` (RFC 9110 section 10.1.4)",
    },
    Difference {
        peers: HAPROXY,
        cases: &["answer /trailers"],
        aspects: &["answer trailers"],
        why: "HAProxy passes trailers on to a client that did not say it reads them; RFC 9110 section 6.5.1: they are not to be \
              generated then unless they may be dropped, and so ours drops them",
    },
    Difference {
        peers: BOTH,
        cases: &["a field of this hop", "answer /hop", "an upgrade to HTTP/2"],
        aspects: &["request x-hop", "answer x-hop", "request http2-settings"],
        why: "both pass on fields that `Connection` names; RFC 9110 section 7.6.1: they must be removed",
    },
    Difference {
        peers: NGINX,
        cases: &["absolute and another host", "absolute in capitals"],
        aspects: &["request host"],
        why: "nginx passes on the `Host` that it routed without; RFC 9112 section 3.2.2: the target's host counts, and a proxy \
              must write `Host` anew from it",
    },
    Difference {
        peers: HAPROXY,
        cases: &["absolute", "absolute without path", "absolute in capitals"],
        aspects: &["request line", "request host"],
        why: "HAProxy passes the absolute form on; RFC 9112 section 3.2.1: to a server that is no proxy the path alone is sent",
    },
    Difference {
        peers: HAPROXY,
        cases: &["absolute and another host"],
        aspects: &["*"],
        why: "HAProxy refuses it; RFC 9112 section 3.2.2: `Host` is to be ignored then, which leaves one meaning",
    },
    Difference {
        peers: BOTH,
        cases: &[
            "target /%41%7e%2d",
            "target /%e4%BD%a0",
            "target /a%5cb",
            "target /a//b",
            "target /a/./b/../c",
            "target /a/%2e%2e/b",
        ],
        aspects: &["request line"],
        why: "both pass paths on as they are written; ours brings them into normal form (RFC 3986 section 6.2.2, and no empty \
              segments), matches that, and sends just that on: no path reaches a server behind by a way that no route or rule saw",
    },
    Difference {
        peers: BOTH,
        cases: &["cookies in two lines"],
        aspects: &["request cookie"],
        why: "ours joins them by `; `, the one form that every server reads (RFC 6265 section 5.4: one line; RFC 9113 section \
              8.2.3: joined before they are passed on to HTTP/1.1)",
    },
    Difference {
        peers: NGINX,
        cases: &["every sign of a name", "an underscore"],
        aspects: &["request x.a!#$&'*+^`|~", "request x_custom"],
        why: "nginx drops fields whose names have other signs than letters, digits and hyphens; RFC 9110 section 5.6.2 allows \
              them. What could be taken for a field of a proxy (`X_Forwarded_For`) ours drops too",
    },
    Difference {
        peers: BOTH,
        cases: &["HTTP/1.0*"],
        aspects: &["answer version"],
        why: "ours says HTTP/1.0 to a client that says so; RFC 9110 section 6.2 has it say its own version, and lets it say \
              this one to a client that may not know the other. No client is known that would mind either",
    },
    Difference {
        peers: HAPROXY,
        cases: &["HTTP/1.0*"],
        aspects: &["request version"],
        why: "HAProxy passes the client's version on; RFC 9112 section 2.3: a proxy says its own to the server behind",
    },
    Difference {
        peers: HAPROXY,
        cases: &["HTTP/1.0 and chunks"],
        aspects: &["answer coding"],
        why: "HAProxy passes chunks on to a client of HTTP/1.0, which takes their sizes for content; RFC 9112 section 6.1: a \
              coding must not be sent to it. Ours ends the content with the connection",
    },
    Difference {
        peers: BOTH,
        cases: &["HTTP/1.0 without host"],
        aspects: &["request host"],
        why: "both send none; RFC 9112 section 3.2: what goes on as HTTP/1.1 has a `Host`, an empty one where nobody is meant",
    },
    Difference {
        peers: HAPROXY,
        cases: &["answer /close", "answer /http10", "pipelined behind an answer that ends with its connection"],
        aspects: &["end", "answer count", "request count"],
        why: "HAProxy ends the client's connection too, with whatever was pipelined on it; ours sends the content in chunks, so \
              that the client knows whether it is whole (RFC 9112 section 8) and goes on (section 9.3)",
    },
    Difference {
        peers: HAPROXY,
        cases: &["answer /http10", "answer /old"],
        aspects: &["answer version"],
        why: "HAProxy passes the version of the server behind on; RFC 9112 section 2.3: a proxy says its own",
    },
    Difference {
        peers: HAPROXY,
        cases: &["answer /continue"],
        aspects: &["interim"],
        why: "ours keeps a 100 that no client waits for to itself: it says only that a body is wanted that is on its way \
              (RFC 9110 section 15.2.1), and clients are known that take it for the answer",
    },
    Difference {
        peers: HAPROXY,
        cases: &["a body that*", "chunks that wait", "no body to wait with", "an empty body to wait with"],
        aspects: &["request expect"],
        why: "HAProxy passes the expectation on; ours answers it by itself as soon as there is a connection to an endpoint, as \
              nginx does: many servers never answer it, and their clients would wait for nothing",
    },
    Difference {
        peers: BOTH,
        cases: &["a body that does not wait", "no body to wait with", "an empty body to wait with"],
        aspects: &["interim"],
        why: "both say 100 where nothing is waited for; RFC 9110 section 10.1.1: without content there is nothing to expect, and \
              where some is here already it may be left out",
    },
    Difference {
        peers: BOTH,
        cases: &["behind a bare line feed"],
        aspects: &["*"],
        why: "both take it for an empty line; RFC 9112 section 2.2 has a server ignore CRLF there and only lets it take a bare LF \
              for a line's end: ours never does, so that no two readers find different lines",
    },
];

fn is_meant(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |begin| name.starts_with(begin))
}

impl Difference {
    /// Whether a case of a peer is meant.
    pub fn is_of(&self, peer: &str, case: &str) -> bool {
        self.peers.contains(&peer) && self.cases.iter().any(|pattern| is_meant(pattern, case))
    }

    /// Whether it explains this one.
    pub fn explains(&self, peer: &str, case: &str, aspect: &str) -> bool {
        self.is_of(peer, case) && self.aspects.iter().any(|known| *known == "*" || *known == aspect)
    }
}
