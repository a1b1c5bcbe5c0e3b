//! Cross-origin requests of browsers (Fetch Standard, section 3.2 "CORS protocol").
//!
//! A page of an origin that is not listed hears nothing that would let it read the answer; the request itself is no
//! secret, and is passed on as a browser without CORS would send it.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use crate::config::filter::CorsConfig;

/// What is said to a page of another origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The request only asks whether another one would be allowed.
    pub is_preflight: bool,
    fields: Vec<(HeaderName, HeaderValue)>,
    vary: Option<HeaderValue>,
}

/// What is said to a request.
pub fn answer(config: &CorsConfig, method: &Method, headers: &HeaderMap) -> Answer {
    let origin = headers.get(ORIGIN);
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS && origin.is_some());
    let is_any = config.origins.iter().any(|known| **known == *"*");
    let mut out = Answer { is_preflight: wanted.is_some(), ..Answer::default() };
    // What the answer says depends on who asks, also where nobody did.
    out.vary = match (wanted, is_any) {
        (Some(_), _) => {
            Some(HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"))
        }
        (None, false) => Some(HeaderValue::from_static("Origin")),
        (None, true) => None,
    };
    let is_known = |origin: &&HeaderValue| {
        let lower = origin.as_bytes().to_ascii_lowercase();
        is_any || config.origins.iter().any(|known| *known.as_bytes() == *lower)
    };
    let Some(origin) = origin.filter(is_known) else { return out };
    let mut say = |name: HeaderName, value: Option<HeaderValue>| out.fields.extend(value.map(|value| (name, value)));
    let allowed = if is_any { HeaderValue::from_static("*") } else { origin.clone() };
    say(ACCESS_CONTROL_ALLOW_ORIGIN, Some(allowed));
    say(ACCESS_CONTROL_ALLOW_CREDENTIALS, config.credentials.then(|| HeaderValue::from_static("true")));
    if wanted.is_none() {
        say(ACCESS_CONTROL_EXPOSE_HEADERS, list(&config.expose));
        return out;
    }
    let methods = ["GET", "HEAD", "POST"].into_iter().chain(config.methods.iter().map(|method| &**method));
    say(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(&methods.collect::<Vec<_>>().join(", ")).ok());
    // With credentials `*` would be a name: what is asked for is said.
    let every = config.headers.iter().any(|name| **name == *"*");
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    say(ACCESS_CONTROL_ALLOW_HEADERS, if every { asked } else { list(&config.headers) });
    say(ACCESS_CONTROL_MAX_AGE, Some(config.max_age.as_secs().into()));
    out
}

fn list(names: &[std::sync::Arc<str>]) -> Option<HeaderValue> {
    if names.is_empty() { None } else { HeaderValue::from_str(&names.join(", ")).ok() }
}

impl Answer {
    /// Writes it, in place of what the service says of the same.
    pub fn write(&self, headers: &mut HeaderMap) {
        for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
            headers.remove(name);
        }
        for (name, value) in &self.fields {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(vary) = &self.vary {
            headers.append(VARY, vary.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(config: &CorsConfig, method: &Method, lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let headers =
            lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut out = HeaderMap::new();
        answer(config, method, &headers.collect()).write(&mut out);
        out.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    fn config(origins: &[&str], headers: &[&str]) -> CorsConfig {
        CorsConfig {
            origins: origins.iter().map(|text| (*text).into()).collect(),
            headers: headers.iter().map(|text| (*text).into()).collect(),
            credentials: !origins.contains(&"*"),
            ..CorsConfig::default()
        }
    }

    #[test]
    fn known_origins_are_named_and_others_hear_nothing() {
        let listed = config(&["https://a.test"], &[]);
        let get = |origin| said(&listed, &Method::GET, &[("origin", origin)]);
        let expected =
            ["access-control-allow-origin: https://A.test", "access-control-allow-credentials: true", "vary: Origin"];
        assert_eq!(get("https://A.test"), expected);
        for other in ["https://a.test.evil", "http://a.test", "null", "https://a.test:8443"] {
            assert_eq!(get(other), ["vary: Origin"], "{other}");
        }
        assert_eq!(said(&listed, &Method::GET, &[]), ["vary: Origin"]);
        let any = config(&["*"], &[]);
        assert_eq!(said(&any, &Method::GET, &[("origin", "null")]), ["access-control-allow-origin: *"]);
    }

    #[test]
    fn preflight_requests_are_told_what_is_allowed() {
        let lines = [
            ("origin", "https://a.test"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-a, x-b"),
        ];
        let every = CorsConfig { methods: vec!["PUT".into()], ..config(&["https://a.test"], &["*"]) };
        let out = said(&every, &Method::OPTIONS, &lines);
        assert!(out.contains(&"access-control-allow-methods: GET, HEAD, POST, PUT".to_owned()), "{out:?}");
        assert!(out.contains(&"access-control-allow-headers: x-a, x-b".to_owned()), "{out:?}");
        assert!(out.contains(&"access-control-max-age: 600".to_owned()), "{out:?}");
        let listed = said(&config(&["https://a.test"], &["x-c"]), &Method::OPTIONS, &lines);
        assert!(listed.contains(&"access-control-allow-headers: x-c".to_owned()), "{listed:?}");
        // An OPTIONS that is none is the service's.
        let headers: HeaderMap = [(ORIGIN, HeaderValue::from_static("https://a.test"))].into_iter().collect();
        assert!(!answer(&every, &Method::OPTIONS, &headers).is_preflight);
    }
}
