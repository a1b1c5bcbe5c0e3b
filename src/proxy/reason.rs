//! Why this proxy, and not a backend, gave an answer: one table for the code, the metrics and the documentation.
//!
//! Codes are stable: people search for them and alerts name them.

use http::StatusCode;

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The client's request.
    Client,
    /// The service's endpoint.
    Upstream,
    /// This proxy or its configuration.
    Ourselves,
}

impl Party {
    /// The name used in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Ourselves => "proxy",
        }
    }
}

/// What is said of a reason.
#[derive(Debug)]
pub struct Entry {
    /// The stable code: header `x-pointsman-reason`, metrics, logs.
    pub code: &'static str,
    /// The status of the answer.
    pub status: StatusCode,
    /// Who is at fault.
    pub party: Party,
    /// What happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! reasons {
    ($($name:ident $code:literal $status:ident $party:ident, $meaning:literal, $remedy:literal;)*) => {
        /// Why this proxy answered by itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of [`Reason::index`].
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What is said of it.
            pub fn entry(self) -> &'static Entry {
                match self {
                    $(Self::$name => {
                        const { &Entry {
                            code: $code,
                            status: StatusCode::$status,
                            party: Party::$party,
                            meaning: $meaning,
                            remedy: $remedy,
                        } }
                    })*
                }
            }
        }
    };
}

reasons! {
    NotReady "not-ready" SERVICE_UNAVAILABLE Ourselves,
        "No source has told what runs yet; nothing can be said about any name.",
        "Wait; `/readyz` says which source is missing.";
    NoRoute "no-route" NOT_FOUND Client,
        "No route claims this host and path, or those that do ask for something that the request has not.",
        "`pointsman explain URL` shows what each route asked and the nearest ones; check the task's labels of routes.";
    NoEndpoint "no-endpoint" SERVICE_UNAVAILABLE Upstream,
        "The route's service has no endpoint that may be chosen now.",
        "`pointsman services` shows the endpoints and their states.";
    NotHttp "not-http" BAD_GATEWAY Ourselves,
        "The route leads to a service that does not speak HTTP.",
        "Set the port's `protocol` label to `http`, `https`, `h2c` or `h2`, or remove its route.";
    AddressRefused "address-refused" FORBIDDEN Client,
        "The service lets in clients of certain networks only, and this one is in none.",
        "The label is `allow` (`HAPROXY_{n}_BACKEND_NETWORK_ALLOWED_ACL`); behind another proxy, see `proxy.trusted_proxies`.";
    PasswordRequired "password-required" UNAUTHORIZED Client,
        "The service asks for a user and a password.",
        "Send the right ones. Where nobody is let in, `pointsman problems` tells whether the label `auth` can be read.";
    PasswordsBusy "passwords-busy" SERVICE_UNAVAILABLE Ourselves,
        "Too many passwords wait to be tried.",
        "Somebody may be guessing; hashes with fewer rounds are tried faster.";
    HttpsRequired "https-required" MOVED_PERMANENTLY Ourselves,
        "The service wants HTTPS.",
        "The label is `https_redirect` (`HAPROXY_{n}_REDIRECT_TO_HTTPS`); the port is `proxy.https_port`.";
    HttpsRequiredSame "https-required-same-method" PERMANENT_REDIRECT Ourselves,
        "The service wants HTTPS, and the method must stay.",
        "As `https-required`.";
    Redirected "redirected" MOVED_PERMANENTLY Ourselves,
        "The service's root is elsewhere.",
        "The label is `root_redirect` (`HAPROXY_{n}_HTTP_BACKEND_REDIR`).";
    UnknownFilter "unknown-filter" SERVICE_UNAVAILABLE Ourselves,
        "The service or its route names a filter that is not configured.",
        "Add it to `[[proxy.filters]]`, or correct the label `filters`.";
    RateLimited "rate-limited" TOO_MANY_REQUESTS Client,
        "The client sent more requests than a filter of the service allows.",
        "Wait as long as `Retry-After` says; the limit is `rate` of a filter in `[[proxy.filters]]`.";
    BodyTooLarge "body-too-large" PAYLOAD_TOO_LARGE Client,
        "The request's body is larger than a filter of the service allows.",
        "Send less; the limit is `max_body` of a filter in `[[proxy.filters]]`.";
    AuthRefused "auth-refused" UNAUTHORIZED Client,
        "Somebody whom a filter of the service asks does not let the request pass; status and words are theirs.",
        "Do what the answer says; who is asked is `forward_auth.url` of a filter in `[[proxy.filters]]`.";
    AuthUnreachable "auth-unreachable" SERVICE_UNAVAILABLE Ourselves,
        "Whoever a filter of the service asks cannot be reached.",
        "Look whether `forward_auth.url` of a filter in `[[proxy.filters]]` can be reached from this host.";
    AuthTimeout "auth-timeout" SERVICE_UNAVAILABLE Ourselves,
        "Whoever a filter of the service asks has not answered in time.",
        "The time is `forward_auth.timeout` of a filter in `[[proxy.filters]]`.";
    AuthInvalid "auth-invalid" BAD_GATEWAY Ourselves,
        "Whoever a filter of the service asks gave no valid answer, or one above 256 KiB.",
        "Compare `forward_auth.url` of a filter in `[[proxy.filters]]` with what listens there.";
    TokenRequired "token-required" UNAUTHORIZED Client,
        "A filter of the service asks for a token, and there is none.",
        "Send `Authorization: Bearer` with a token of the issuer; what is asked for is `jwt` of a filter in `[[proxy.filters]]`.";
    TokenInvalid "token-invalid" UNAUTHORIZED Client,
        "The token is not believed: not signed by a known key, expired, or for somebody else.",
        "Get a new one; with the log level `pointsman::proxy=debug` this proxy's log says what is wrong with it.";
    KeysMissing "keys-missing" SERVICE_UNAVAILABLE Ourselves,
        "The keys that a filter checks tokens by could never be read.",
        "The log says why; they are `jwt.keys` of a filter in `[[proxy.filters]]`.";
    Preflight "preflight" NO_CONTENT Client,
        "A browser asked whether a page of another origin may send a request.",
        "Nothing; what is allowed is `cors` of a filter in `[[proxy.filters]]`.";
    RouteRedirect "route-redirect" FOUND Ourselves,
        "The route sends its requests elsewhere.",
        "The label is `redirect`; the status is its `redirect_status`.";
    FixedAnswer "fixed-answer" OK Ourselves,
        "The route answers its requests always the same.",
        "The label is `answer`, and says the status.";
    NoApp "no-app" NOT_FOUND Client,
        "No app of this name has a port that speaks HTTP, or the header `X-Marathon-App-Id` is missing.",
        "Name the app by its full id, such as `/team/shop`.";
    ConnectFailed "connect-failed" BAD_GATEWAY Upstream,
        "No endpoint accepted a connection.",
        "Check that the task listens on the port it was given and that the network lets the proxy reach it.";
    ConnectTimeout "connect-timeout" GATEWAY_TIMEOUT Upstream,
        "No endpoint accepted a connection in time.",
        "Look for dropped packets or a full accept queue; the time is `proxy.limits.connect`.";
    UpstreamCertificate "upstream-certificate" BAD_GATEWAY Upstream,
        "The endpoint's certificate is not accepted: an unknown authority, another name, or out of date.",
        "`pointsman services` names the endpoint; set `ca` or `server_name` of its entry in `[[upstreams.tls]]`, or its label `tls_server_name`.";
    UpstreamTls "upstream-tls" BAD_GATEWAY Upstream,
        "No TLS with the endpoint: it speaks none, agrees on nothing, or does not accept the certificate it is shown.",
        "Compare the labels `protocol` and `tls` with what the task speaks; one that asks for a certificate needs `certificate` and `key` in `[[upstreams.tls]]`.";
    UpstreamReset "upstream-reset" BAD_GATEWAY Upstream,
        "The endpoint closed the connection before it answered, and a second attempt was not safe or failed too.",
        "Look for a crash in the task's log; keep-alive times of the backend should exceed `proxy.limits.upstream_idle`.";
    UpstreamInvalid "upstream-invalid" BAD_GATEWAY Upstream,
        "The endpoint's answer is not valid HTTP, or can be understood in two ways.",
        "Compare the port's `protocol` label with what the task speaks.";
    ResponseTimeout "response-timeout" GATEWAY_TIMEOUT Upstream,
        "No endpoint began its answer in time.",
        "The time is `proxy.limits.response`, or the label `timeout`.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE Ourselves,
        "Too much of bodies waits in this worker's memory already.",
        "Look for clients that read slowly (`pointsman_proxy_buffered_bytes`); the limit is `proxy.limits.buffer_size`.";
    EndpointsFull "endpoints-full" SERVICE_UNAVAILABLE Ourselves,
        "Every endpoint of the service has as many requests under way as one worker may send it.",
        "Start more instances, or raise `proxy.limits.connections_per_endpoint`.";
    QueueFull "queue-full" SERVICE_UNAVAILABLE Ourselves,
        "Every endpoint of the service has as many requests under way as it takes, and as many wait as may.",
        "Start more instances; the limits are `proxy.balance.max_requests` and `max_queue`, or the labels of these names.";
    QueueTimeout "queue-timeout" SERVICE_UNAVAILABLE Ourselves,
        "Every endpoint of the service had as many requests under way as it takes, and none ended in time.",
        "Start more instances; the times are `proxy.balance.queue_time` and `proxy.limits.response`, or the labels `queue_time` and `timeout`.";
    TooManyRequests "concurrency-limit" SERVICE_UNAVAILABLE Ourselves,
        "The service's answers have become slow, and as many requests as it can take are under way.",
        "Start more instances; the limit is found out within the bounds of `[proxy.adaptive_concurrency]`.";
    Drained "drain-time-over" GATEWAY_TIMEOUT Upstream,
        "The endpoint went away, and its drain time was over before it answered.",
        "Let the task answer within `routing.drain_time` (or its label `drain_time`) after it is told to end.";
    Loop "loop" LOOP_DETECTED Ourselves,
        "The request has passed this proxy too often already.",
        "A service's endpoint leads back to this proxy; the limit is `proxy.max_hops`.";
    BadHost "bad-host" BAD_REQUEST Client,
        "`Host` or `:authority` is missing, repeated or not a host with an optional port.",
        "Send exactly one valid host (RFC 9112 section 3.2).";
    HostMismatch "host-mismatch" BAD_REQUEST Client,
        "`:authority` and `host` differ.",
        "Send one of them, or both alike (RFC 9113 section 8.3.1).";
    BadTarget "bad-target" BAD_REQUEST Client,
        "The request's target is not a path, or has a fragment, a control or a non-ASCII character.",
        "Send `/path?query`, percent-encoded (RFC 9112 section 3.2).";
    BadPath "bad-path" BAD_REQUEST Client,
        "The path has a broken, dangerous or unwanted percent-encoding, or a backslash.",
        "Encode the path as RFC 3986 says; `%00` and dot segments behind `%2F` or `%5C` are refused, and these two themselves \
            where `proxy.paths.refuse_encoded_slashes` says so.";
    BadFraming "bad-framing" BAD_REQUEST Client,
        "The request's length cannot be read, has zeros before it or is given in more than one way, or a chunk's head can be \
            read in two.",
        "Send `Content-Length` or `Transfer-Encoding: chunked`, not both (RFC 9112 section 6.3).";
    BadHead "bad-head" BAD_REQUEST Client,
        "The request's head is not valid HTTP/1, has content types that differ, or a field with a `_` in its name where \
            `proxy.underscores` refuses that.",
        "Look at what the client sends (RFC 9112 sections 3 and 5, RFC 9110 section 8.3).";
    UnknownVersion "unknown-version" HTTP_VERSION_NOT_SUPPORTED Client,
        "The request is of a version of HTTP/1 that there is not, or of another major one.",
        "Send `HTTP/1.1` or `HTTP/1.0` (RFC 9110 section 15.6.6); HTTP/2 begins with its own preface.";
    BadLine "bad-line" BAD_REQUEST Client,
        "A line of the request's head or of its chunks does not end in CR LF.",
        "End lines with CR LF (RFC 9112 section 2.2).";
    BadUpgrade "bad-upgrade" BAD_REQUEST Client,
        "The WebSocket handshake is not valid.",
        "Send a GET with a `Sec-WebSocket-Key` of 16 octets in base64 (RFC 6455 section 4.1).";
    UnknownCoding "unknown-coding" NOT_IMPLEMENTED Client,
        "The transfer coding is not plain `chunked`.",
        "Send `Transfer-Encoding: chunked` alone (RFC 9112 section 6.1).";
    UnknownExpectation "unknown-expectation" EXPECTATION_FAILED Client,
        "`Expect` asks for something other than `100-continue`.",
        "Remove the header (RFC 9110 section 10.1.1).";
    MethodRefused "method-refused" METHOD_NOT_ALLOWED Client,
        "CONNECT and TRACE are not forwarded.",
        "Use another method.";
    AcmeChallenge "acme-challenge" OK Client,
        "An authority that certificates are ordered from asked whether the host leads here.",
        "Nothing; the challenge is open for as long as the order is (`[[proxy.acme]]`).";
    MaxForwards "max-forwards" OK Client,
        "The request was to go no further than here: `Max-Forwards` is 0.",
        "Nothing; OPTIONS was answered by the last recipient it named (RFC 9110 section 7.6.2).";
    HeadTooLarge "head-too-large" REQUEST_HEADER_FIELDS_TOO_LARGE Client,
        "The request has too many header fields, or they are too long.",
        "Send less; the limits are `proxy.limits.head_fields` and `proxy.limits.head_size`.";
    TargetTooLong "target-too-long" URI_TOO_LONG Client,
        "The request line is too long.",
        "Send a shorter path or query; 64 octets less than `proxy.limits.head_size` pass, and than 64 KiB (RFC 9112 section 3).";
    WrongName "wrong-name" MISDIRECTED_REQUEST Client,
        "The host is not one that the certificate of this TLS connection is for.",
        "Open a connection with the right server name (RFC 9110 section 15.5.20).";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT Client,
        "The request's body stopped arriving, or came too slowly.",
        "The time is `proxy.limits.idle`; after 10 s a body arrives with 240 octets a second at least.";
    RequestCut "request-cut" BAD_REQUEST Client,
        "The request's body broke off or is not valid.",
        "Look at the client, or at a proxy before this one.";
}

impl Reason {
    /// Its position in [`Reason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The stable code.
    pub fn code(self) -> &'static str {
        self.entry().code
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        self.entry().status
    }

    /// The type of error that RFC 9209 section 2.3 has for it.
    pub fn proxy_error(self) -> &'static str {
        match self {
            Self::NoEndpoint => "destination_unavailable",
            Self::NoRoute => "destination_not_found",
            Self::ConnectFailed => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::UpstreamCertificate => "tls_certificate_error",
            Self::UpstreamTls => "tls_protocol_error",
            Self::UpstreamReset => "connection_terminated",
            Self::UpstreamInvalid => "http_protocol_error",
            Self::ResponseTimeout => "http_response_timeout",
            Self::Loop => "proxy_loop_detected",
            Self::MethodRefused => "http_request_denied",
            _ => match self.entry().party {
                Party::Client => "http_request_error",
                Party::Upstream => "destination_unavailable",
                Party::Ourselves => "proxy_internal_error",
            },
        }
    }

    /// Whether somebody asked for just this answer: nothing went wrong.
    pub fn is_intended(self) -> bool {
        matches!(
            self,
            Self::AcmeChallenge | Self::MaxForwards | Self::Preflight | Self::RouteRedirect | Self::FixedAnswer
        )
    }

    /// Whether a service should have answered, and no endpoint did.
    pub fn is_loss(self) -> bool {
        self.entry().party == Party::Upstream
            || matches!(
                self,
                Self::NoEndpoint | Self::EndpointsFull | Self::QueueFull | Self::QueueTimeout | Self::TooManyRequests
            )
    }

    /// Whether the connection must close after the answer, because what follows on it cannot be trusted.
    pub fn closes(self) -> bool {
        matches!(
            self,
            Self::BadFraming
                | Self::BadHead
                | Self::UnknownVersion
                | Self::BadLine
                | Self::UnknownCoding
                | Self::BadHost
                | Self::BadTarget
                | Self::BodyTooLarge
                | Self::RequestCut
                | Self::RequestTimeout
                | Self::HeadTooLarge
                | Self::TargetTooLong
        )
    }
}

/// The table of reasons for the documentation.
pub fn reference_markdown() -> String {
    let mut text = String::from("| code | status | fault of | what happened | what to do |\n|---|---|---|---|---|\n");
    for entry in Reason::ALL.iter().map(|reason| reason.entry()) {
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            entry.code,
            entry.status.as_u16(),
            entry.party.as_str(),
            entry.meaning,
            entry.remedy
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_positions_are_right() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), position);
        }
    }

    #[test]
    fn the_reference_names_every_code() {
        let text = reference_markdown();
        assert!(Reason::ALL.iter().all(|reason| text.contains(&format!("| `{}` |", reason.code()))));
    }
}
