//! What the program tells of itself at `/metrics`, asked of the running program after requests through it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::backend::Backend;
use common::ports::unused;
use common::program::{Folder, get};

#[test]
fn build_tables_requests_and_their_times_are_told() {
    let (folder, backend, proxy) = (Folder::new(), Backend::start("web"), unused());
    folder.serve_web(&[backend.address]);
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(program.metric(&format!("pointsman_build_info{{version=\"{version}\"}}")), Some(1.0));
    // Each table that was published took its time.
    let published =
        |program: &common::program::Program| program.metric("pointsman_table_publish_seconds_count").unwrap();
    let before = published(&program);
    let tables = program.metric("pointsman_table_generation").unwrap();
    assert!(before >= 1.0 && before <= tables, "{before} of {tables}");
    assert!(program.metric("pointsman_table_publish_seconds_sum").unwrap() > 0.0);

    for _ in 0..3 {
        assert_eq!(get(proxy, "web.test", "/").map(|reply| reply.status), Some(200));
    }
    let requests = "pointsman_proxy_requests_total{code=\"2xx\",service=\"static/static/web/0\"}";
    program.until("the requests are counted", |program| program.metric(requests) == Some(3.0));
    let duration = "pointsman_proxy_request_duration_seconds";
    let of = |what: &str, more: &str| format!("{duration}_{what}{{service=\"static/static/web/0\"{more}}}");
    assert_eq!(program.metric(&of("count", "")), Some(3.0));
    assert!(program.metric(&of("sum", "")).unwrap() > 0.0);
    // Buckets are cumulative, and the last has all.
    assert_eq!(program.metric(&of("bucket", ",le=\"+Inf\"")), Some(3.0));
    let text = program.try_api("GET", "/metrics", "").unwrap().body;
    let buckets: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with(&format!("{duration}_bucket")) && line.contains("static/static/web/0"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(buckets.len() > 5 && buckets.is_sorted(), "{buckets:?}");

    // Another service, another table, another time.
    folder.write("services.toml", "[[services]]\nname = \"other\"\nhosts = [\"*\"]\n");
    program.until("the change is published and told", |program| published(program) > before);
    program.stop();
}
