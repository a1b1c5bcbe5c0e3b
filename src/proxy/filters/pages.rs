//! Pages in place of the proxy's own short texts, and of endpoints' answers that filters name.
//!
//! They are files of a folder, `503.html`, `5xx.html`, `any.html`, read on the control runtime and served from memory, or a
//! service gives them ([`super::page_service`]). Which answer it is does not change: status, reason code and the other fields
//! stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hashbrown::HashMap;
use http::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::page_service::{self, Question};
use crate::config::Config;
use crate::proxy::worker::Worker;
use crate::table::config_watch::ConfigWatch;
use crate::table::handle::TableHandle;

/// The largest page, and the most of one folder.
pub const MAX_PAGE: u64 = 64 * 1024;
const MAX_PAGES: usize = 256;
/// How often it is looked whether files have changed.
const LOOK: Duration = Duration::from_secs(1);

/// What files are, by the end of their name.
const KINDS: [(&str, &str); 3] =
    [("html", "text/html; charset=utf-8"), ("json", "application/json"), ("txt", "text/plain; charset=utf-8")];

/// The pages of one folder: by the status, its class, or any, and by the end of the file's name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pages(BTreeMap<(Box<str>, &'static str), Bytes>);

type Folders = HashMap<PathBuf, Arc<Pages>>;

/// All folders. Swapped whole: a worker that looks waits for nobody.
static FOLDERS: LazyLock<ArcSwap<Folders>> = LazyLock::new(ArcSwap::default);

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its media type.
    pub kind: HeaderValue,
    /// Its language, where it is known.
    pub language: Option<HeaderValue>,
    /// What it says.
    pub body: Bytes,
}

/// Whether a client asks for JSON rather than for a page: one that names no text.
pub fn wants_json(headers: &HeaderMap) -> bool {
    let said = || headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    said().any(|value| value.contains("json")) && !said().any(|value| value.contains("text/html"))
}

impl Pages {
    fn find(&self, status: StatusCode, json: bool) -> Option<Page> {
        let code = status.as_str();
        let class = format!("{}xx", &code[..1]);
        let order: [usize; 3] = if json { [1, 0, 2] } else { [0, 1, 2] };
        [code, &class, "any"].into_iter().find_map(|name| {
            order.into_iter().find_map(|at| {
                let (end, kind) = KINDS[at];
                let kind = HeaderValue::from_static(kind);
                self.0.get(&(name.into(), end)).map(|body| Page { kind, language: None, body: body.clone() })
            })
        })
    }

    /// Reads a folder. What is not called as a page is, is none; the rest of a folder counts where a file is at fault.
    fn read(folder: &Path) -> std::io::Result<(Self, Vec<String>)> {
        let (mut pages, mut faults) = (BTreeMap::new(), Vec::new());
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(key) = key(&path) else { continue };
            let length = std::fs::metadata(&path).map(|found| found.len());
            match length {
                Ok(length) if length > MAX_PAGE => faults.push(format!("{} is larger than 64 KiB", path.display())),
                _ if pages.len() >= MAX_PAGES => faults.push(format!("{} is one too many", path.display())),
                _ => match std::fs::read(&path) {
                    Ok(body) => drop(pages.insert(key, body.into())),
                    Err(error) => faults.push(format!("{}: {error}", path.display())),
                },
            }
        }
        Ok((Self(pages), faults))
    }
}

/// `503`, `5xx` or `any`, and the end of the name.
fn key(path: &Path) -> Option<(Box<str>, &'static str)> {
    let (name, end) = path.file_name()?.to_str()?.split_once('.')?;
    let end = KINDS.iter().map(|(known, _)| *known).find(|known| *known == end)?;
    let is_status = name.len() == 3 && name.parse::<u16>().is_ok_and(|code| (400..600).contains(&code));
    (is_status || matches!(name, "4xx" | "5xx" | "any")).then(|| (name.into(), end))
}

/// Which pages a request's errors have, and in what form.
#[derive(Clone, Debug)]
pub struct Dress {
    folder: Option<PathBuf>,
    json: bool,
    /// What a service is asked, where one gives pages.
    question: Option<Question>,
    /// What it has given.
    given: Option<(StatusCode, Page)>,
}

impl Dress {
    /// Those of the filter at this position, else those of all.
    pub fn of(config: &Config, filter: Option<usize>, head: &Parts) -> Option<Box<Self>> {
        let errors = filter.and_then(|position| Some(&config.proxy.filters.get(position)?.errors));
        let folder = errors.and_then(|errors| errors.pages.as_ref()).or(config.proxy.error_pages.as_ref()).cloned();
        let asks = filter.filter(|_| errors.is_some_and(|errors| errors.service.is_some()));
        let question = asks.and_then(|filter| Question::of(filter, head));
        let is_one = folder.is_some() || question.is_some();
        is_one.then(|| Box::new(Self { folder, json: wants_json(&head.headers), question, given: None }))
    }

    /// Whether a service is to be asked.
    pub fn asks(&self) -> bool {
        self.question.is_some()
    }

    /// Asks the service for the page of this status, where there is one to ask.
    pub async fn ask(&mut self, worker: &Worker, config: &Config, status: StatusCode) {
        let Some(question) = &self.question else { return };
        let Some(filter) = config.proxy.filters.get(question.filter) else { return };
        self.given = page_service::fetch(worker, &filter.errors, question, status).await.map(|page| (status, page));
    }

    /// The page for a status: what a service has given, else that of a folder.
    pub fn page(&self, status: StatusCode) -> Option<Page> {
        let given = self.given.as_ref().filter(|(known, _)| *known == status).map(|(_, page)| page.clone());
        given.or_else(|| FOLDERS.load().get(self.folder.as_ref()?)?.find(status, self.json))
    }
}

impl Page {
    /// Makes an answer's head that of this page; what described the former body goes.
    pub fn describe(&self, headers: &mut HeaderMap) {
        for name in [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, ETAG, LAST_MODIFIED, ACCEPT_RANGES] {
            headers.remove(name);
        }
        headers.remove(CONTENT_LANGUAGE);
        headers.insert(CONTENT_TYPE, self.kind.clone());
        if let Some(language) = &self.language {
            headers.insert(CONTENT_LANGUAGE, language.clone());
        }
    }
}

/// Reads the folders that the configuration names, and reads them again when they change, until it is told to stop.
///
/// It is the time and the configuration that say when to look: tables may change thousands of times a second.
pub async fn follow(table: Arc<TableHandle>, stop: CancellationToken) {
    let mut seen: HashMap<PathBuf, Seen> = HashMap::new();
    let mut config = ConfigWatch::new(table);
    let run = async {
        loop {
            let folders = named(config.current());
            seen.retain(|folder, _| folders.contains(folder));
            for folder in folders {
                let state = seen.entry(folder.clone()).or_default();
                let look = tokio::task::spawn_blocking({
                    let (folder, before) = (folder.clone(), state.stamps.clone());
                    move || look(&folder, before.as_deref())
                });
                if let Ok(Some(looked)) = look.await {
                    state.take(&folder, looked);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = config.changed() => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = run => {}
    }
}

fn named(config: &Config) -> Vec<PathBuf> {
    let of_filters = config.proxy.filters.iter().filter_map(|filter| filter.errors.pages.clone());
    let mut all: Vec<PathBuf> = config.proxy.error_pages.iter().cloned().chain(of_filters).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// When each file of a folder was changed, and how long it is.
type Stamps = Vec<(PathBuf, SystemTime, u64)>;

#[derive(Debug, Default)]
struct Seen {
    stamps: Option<Stamps>,
    is_faulty: bool,
}

type Looked = std::io::Result<(Stamps, Pages, Vec<String>)>;

/// What is in the folder now; `None`: as before.
fn look(folder: &Path, before: Option<&[(PathBuf, SystemTime, u64)]>) -> Option<Looked> {
    match stamps(folder) {
        Ok(stamps) if before == Some(stamps.as_slice()) => None,
        Ok(stamps) => Some(Pages::read(folder).map(|(pages, faults)| (stamps, pages, faults))),
        Err(error) => Some(Err(error)),
    }
}

fn stamps(folder: &Path) -> std::io::Result<Stamps> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if key(&path).is_some()
            && let Ok(found) = std::fs::metadata(&path)
        {
            all.push((path, found.modified()?, found.len()));
        }
    }
    all.sort_unstable();
    Ok(all)
}

impl Seen {
    fn take(&mut self, folder: &Path, looked: Looked) {
        match looked {
            Ok((stamps, pages, faults)) => {
                for fault in faults {
                    warn!(folder = %folder.display(), fault, "a page for errors cannot be used");
                }
                info!(folder = %folder.display(), pages = pages.0.len(), "pages for errors are read");
                (self.stamps, self.is_faulty) = (Some(stamps), false);
                publish(folder, pages);
            }
            Err(error) => {
                // Once, until it works again.
                if !std::mem::replace(&mut self.is_faulty, true) {
                    let folder = folder.display();
                    warn!(%folder, %error, "pages for errors cannot be read; those that were read before are served");
                }
            }
        }
    }
}

/// Only this task writes: what it loads is what it replaces.
fn publish(folder: &Path, pages: Pages) {
    let mut folders = Folders::clone(&FOLDERS.load());
    folders.insert(folder.to_owned(), Arc::new(pages));
    FOLDERS.store(Arc::new(folders));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_page_in_the_form_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["503.html", "5xx.html", "5xx.json", "any.txt", "200.html", "x.html", "503.html.bak", "404.css"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::write(folder.path().join("500.html"), vec![b'x'; 70_000]).unwrap();
        let (pages, faults) = Pages::read(folder.path()).unwrap();
        let found = |code, json| {
            let page = pages.find(StatusCode::from_u16(code).unwrap(), json)?;
            Some(String::from_utf8(page.body.to_vec()).unwrap())
        };
        assert_eq!(found(503, false).as_deref(), Some("503.html"));
        assert_eq!(found(503, true).as_deref(), Some("503.html"), "the status goes before the form");
        assert_eq!(found(502, false).as_deref(), Some("5xx.html"));
        assert_eq!(found(502, true).as_deref(), Some("5xx.json"));
        assert_eq!(found(404, false).as_deref(), Some("any.txt"));
        assert_eq!(found(500, false).as_deref(), Some("5xx.html"), "what is too large is none");
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn who_asks_for_json() {
        let wants = |accept: &str| wants_json(&[(ACCEPT, accept.parse().unwrap())].into_iter().collect());
        assert!(wants("application/json") && wants("application/problem+json, */*"));
        assert!(!wants("*/*") && !wants("text/html, application/json;q=0.9"));
        assert!(!wants_json(&HeaderMap::new()));
    }
}
