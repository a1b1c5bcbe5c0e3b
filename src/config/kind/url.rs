//! URLs.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use super::text::FILE;
use super::{Fault, Item, Kind, clip};

/// An `http://` or `https://` URL, perhaps with a path, without credentials.
pub(crate) struct MarathonUrl;

impl Kind for MarathonUrl {
    type Value = Arc<str>;

    fn noun(&self) -> String {
        "a URL".into()
    }

    fn example(&self) -> String {
        "\"http://marathon:8080\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Arc<str>, Vec<Fault>> {
        let text = self.string(item)?;
        if is_url(text) {
            return Ok(text.trim_end_matches('/').into());
        }
        // Credentials that someone wrote into the URL are not repeated.
        let (message, mend) = match text.contains('@') {
            true => ("the URL has an `@`".to_owned(), "give credentials as `credentials_file`".to_owned()),
            false => (format!("{:?} is no URL of Marathon", clip(text)), format!("write it like {}", self.example())),
        };
        Err(Fault::one(item.span(), message, mend))
    }

    fn show(&self, value: &Arc<str>) -> Json {
        (**value).into()
    }
}

/// An `http://` or `https://` URL, perhaps with a path, without credentials and query.
pub(crate) struct HttpUrl;

impl Kind for HttpUrl {
    type Value = Arc<str>;

    fn noun(&self) -> String {
        "a URL".into()
    }

    fn example(&self) -> String {
        "\"https://auth.example.com/verify\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Arc<str>, Vec<Fault>> {
        let text = self.string(item)?;
        if is_url(text) {
            return Ok(text.into());
        }
        // Credentials that someone wrote into the URL are not repeated.
        let message = match text.contains('@') {
            true => "the URL has an `@`".to_owned(),
            false => format!("{:?} is no http or https URL without a query", clip(text)),
        };
        Err(Fault::one(item.span(), message, format!("write it like {}", self.example())))
    }

    fn show(&self, value: &Arc<str>) -> Json {
        (**value).into()
    }
}

/// An `https://` URL, perhaps with a path, without credentials and query.
pub(crate) struct HttpsUrl;

impl Kind for HttpsUrl {
    type Value = Arc<str>;

    fn noun(&self) -> String {
        "an https URL".into()
    }

    fn example(&self) -> String {
        "\"https://acme.example.com/directory\"".into()
    }

    fn read(&self, item: &Item<'_>, base: &Path) -> Result<Arc<str>, Vec<Fault>> {
        let url = HttpUrl.read(item, base)?;
        // Not every visible character can be in one.
        match url.starts_with("https://") && url.parse::<http::Uri>().is_ok() {
            true => Ok(url),
            false => {
                let message = format!("{:?} is no https URL", clip(&url));
                Err(Fault::one(item.span(), message, format!("write it like {}", self.example())))
            }
        }
    }

    fn show(&self, value: &Arc<str>) -> Json {
        (**value).into()
    }
}

/// Such a URL, or a file; a relative path starts at the configuration file's folder.
pub(crate) struct KeySource;

impl Kind for KeySource {
    type Value = Arc<str>;

    fn noun(&self) -> String {
        "a URL or a file's path".into()
    }

    fn example(&self) -> String {
        "\"https://id.example.com/jwks.json\"".into()
    }

    fn read(&self, item: &Item<'_>, base: &Path) -> Result<Arc<str>, Vec<Fault>> {
        match self.string(item)?.contains("://") {
            true => HttpUrl.read(item, base),
            false => FILE.read(item, base).map(|path| path.to_string_lossy().into()),
        }
    }

    fn show(&self, value: &Arc<str>) -> Json {
        (**value).into()
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let authority = rest.split('/').next().unwrap_or_default();
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map(|(_, port)| port);
        let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let visible = rest.bytes().all(|byte| byte.is_ascii_graphic());
        !authority.is_empty() && !authority.starts_with(':') && good_port && visible && !rest.contains(['@', '?', '#'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in ["http://m", "https://m:8443/service/marathon", "http://[::1]:8080", "http://10.0.0.1:8080/"] {
            assert!(is_url(good), "{good}");
        }
        for wrong in
            ["", "m:8080", "http://", "http://:80", "http://u:p@m", "http://m:x", "http://m:0", "http://m/?a", "zk://m"]
        {
            assert!(!is_url(wrong), "{wrong}");
        }
    }
}
