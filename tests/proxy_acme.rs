//! Certificates by ACME: against `pebble`, against an authority that refuses, and with several instances on one folder.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod acme_support;
#[path = "common/authority.rs"]
mod authority;
mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acme_support::fake::{Fake, problem};
use acme_support::shown::shown;
use acme_support::{EXTERNAL_KEY, Pebble, Setup, World};
use authority::Authority;
use common::ports;
use common::program::{Folder, get, mode, until};

const CHALLENGE: &str = "/.well-known/acme-challenge/";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// A route of whose host everything is sent elsewhere.
fn redirecting(hosts: &[&str]) -> String {
    format!(
        "[[services]]\nname = \"web\"\n[[services.routes]]\nhosts = {hosts:?}\n\
         redirect = \"https://{{host}}{{path}}{{query}}\"\nredirect_status = 308\n"
    )
}

/// The certificate that is shown for a host; a new one is taken up a moment after it is there.
fn until_shown(world: &World, host: &str, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut found = Vec::new();
    until(&format!("a certificate is shown for {host}"), || match shown(world.https, host, &[]) {
        Ok(shown) if is_wanted(&shown.certificate) => {
            found = shown.certificate;
            true
        }
        _ => false,
    });
    found
}

fn is_for(certificate: &[u8], host: &str) -> bool {
    certificate.windows(host.len()).any(|part| part == host.as_bytes())
}

/// As another instance would open it, by the folder that they share.
fn open(world: &World, kind: &str, host: &str, token: &str) {
    let challenge = serde_json::json!({
        "kind": kind, "host": host, "token": token, "authorization": format!("{token}.thumbprint"),
    });
    std::fs::write(world.own("challenges").join(token), challenge.to_string()).unwrap();
}

#[test]
fn a_certificate_is_got_by_http_and_kept_over_a_restart() {
    let setup = Setup::default();
    let Some(pebble) = Pebble::start(&setup) else { return };
    let folder = Folder::new();
    folder.write("services.toml", redirecting(&["a.acme.test", "b.acme.test"]));
    let entry = format!(
        "{}contacts = [\"mailto:ops@acme.test\"]\nsettle = \"0s\"\ncertificates = [[\"a.acme.test\", \"b.acme.test\"]]\n",
        pebble.entry()
    );
    let mut world = World::start_in(folder, setup.http, setup.https, &entry);
    world.until_valid("a.acme.test");
    let first = until_shown(&world, "a.acme.test", |shown| is_for(shown, "a.acme.test"));
    assert!(is_for(&first, "b.acme.test"));
    assert_eq!(until_shown(&world, "b.acme.test", |_| true), first, "one certificate for both");
    // Only what is open is answered before routes; the rest is the service's.
    assert_eq!(get(world.http, "a.acme.test", &format!("{CHALLENGE}x")).unwrap().status, 308);
    assert_eq!(get(world.http, "a.acme.test", "/").unwrap().status, 308);
    assert!(world.program.metric("pointsman_proxy_local_answers_total{reason=\"acme-challenge\"}") >= Some(2.0));
    assert_eq!(world.program.metric("pointsman_acme_orders_total{authority=\"test\",result=\"issued\"}"), Some(1.0));
    let next =
        world.program.metric("pointsman_acme_next_order_seconds{authority=\"test\",pair=\"a.acme.test\"}").unwrap();
    let seen = world.certificate("a.acme.test");
    assert!(next > now() as f64 + 50.0 * 86_400.0 && seen["next_order"].as_f64() == Some(next), "{seen}");
    // Keys are nobody else's, and nothing is left over.
    let kept = world.folder.path("certificates");
    assert_eq!((mode(&kept), mode(&kept.join("a.acme.test.key"))), (0o700, 0o600));
    let entries =
        |path: &Path| std::fs::read_dir(path).unwrap().map(|found| found.unwrap().file_name()).collect::<Vec<_>>();
    let account = entries(&world.own("")).into_iter().find(|name| name.to_string_lossy().starts_with("account-"));
    let account = world.own("").join(account.unwrap());
    assert_eq!(mode(&account), 0o600);
    assert!(entries(&world.own("challenges")).is_empty() && entries(&world.own("new")).is_empty());

    let known = std::fs::read(&account).unwrap();
    world.program.stop();
    let mut world = World::start_in(world.folder, setup.http, setup.https, &entry);
    world.until_valid("a.acme.test");
    assert_eq!(until_shown(&world, "a.acme.test", |_| true), first);
    assert_eq!(std::fs::read(&account).unwrap(), known);
    assert_eq!(world.count("a certificate is ordered"), 1, "by the first life alone");
    // Another list of hosts is another certificate, by the same account, without a restart.
    world.reload(&entry.replace("[[\"a.acme.test\"", "[[\"c.acme.test\"], [\"a.acme.test\""));
    world.until_valid("c.acme.test");
    until_shown(&world, "c.acme.test", |shown| is_for(shown, "c.acme.test"));
    assert_eq!((world.count("an account is made"), world.count("a certificate is issued")), (1, 2));
}

#[test]
fn a_certificate_is_got_by_tls() {
    let setup = Setup::default();
    let Some(pebble) = Pebble::start(&setup) else { return };
    let entry = format!(
        "{}settle = \"0s\"\nchallenge = \"tls-alpn-01\"\ncertificates = [[\"a.acme.test\"], [\"b.acme.test\"]]\n",
        pebble.entry()
    );
    let mut world = World::start(setup.http, setup.https, &entry);
    for host in ["a.acme.test", "b.acme.test"] {
        world.until_valid(host);
        until_shown(&world, host, |shown| is_for(shown, host));
    }
    assert!(shown(world.https, "a.acme.test", &["acme-tls/1"]).is_err(), "nothing is open any more");
    assert!(world.program.metric("pointsman_proxy_local_answers_total{reason=\"acme-challenge\"}") >= Some(2.0));
}

#[test]
fn challenges_of_the_folder_are_answered_while_they_are_open_rfc8555_8_3() {
    let (http, https, answers) = (ports::unused(), ports::unused(), Fake::start(|_, _| None));
    let folder = Folder::new();
    folder.write("services.toml", redirecting(&["a.acme.test"]));
    let world = World::start_in(folder, http, https, &answers.entry());
    until("the folder is made", || world.own("challenges").exists());
    let ask = |token: &str| get(http, "a.acme.test", &format!("{CHALLENGE}{token}")).unwrap();
    assert_eq!(ask("one").status, 308);
    open(&world, "http-01", "a.acme.test", "one");
    until("the challenge is answered", || ask("one").status == 200);
    let answer = ask("one");
    assert_eq!(answer.body, "one.thumbprint");
    assert!(answer.head.contains("content-type: application/octet-stream"), "{}", answer.head);
    // Whatever the host, no other token, no other method, and no other path.
    assert_eq!(get(http, "other.acme.test", &format!("{CHALLENGE}one")).unwrap().status, 200);
    assert_eq!((ask("two").status, ask("one/").status, ask("").status), (308, 308, 308));
    let post = std::net::TcpStream::connect(http).unwrap();
    let path = format!("{CHALLENGE}one");
    let posted = common::program::exchange(post, "POST", &path, &["Host: a.acme.test"], "").unwrap();
    assert_eq!(posted.status, 308);
    // A file that is none of ours opens nothing.
    std::fs::write(world.own("challenges").join("two"), "nonsense").unwrap();
    std::fs::remove_file(world.own("challenges").join("one")).unwrap();
    until("the challenge is closed", || ask("one").status == 308);
    assert_eq!((ask("two").status, answers.asked.lock().unwrap().len()), (308, 0));
}

#[test]
fn the_challenges_certificate_is_for_authorities_alone_rfc8737_3() {
    let (http, https, answers) = (ports::unused(), ports::unused(), Fake::start(|_, _| None));
    let (folder, own) = (Folder::new(), Authority::new());
    std::fs::create_dir(folder.path("certificates")).unwrap();
    own.issue(&["a.acme.test"]).write(&folder.path("certificates"), "own");
    let world = World::start_in(folder, http, https, &answers.entry());
    until("the folder is made", || world.own("challenges").exists());
    let usual = shown(https, "a.acme.test", &[]).unwrap().certificate;
    assert!(shown(https, "a.acme.test", &["acme-tls/1"]).is_err());
    open(&world, "tls-alpn-01", "a.acme.test", "one");
    until("the challenge is answered", || shown(https, "a.acme.test", &["acme-tls/1"]).is_ok());
    let asked = shown(https, "a.acme.test", &["acme-tls/1"]).unwrap();
    assert_eq!((asked.alpn.as_deref(), asked.is_closed), (Some("acme-tls/1"), true));
    assert!(asked.certificate != usual && is_for(&asked.certificate, "a.acme.test"));
    // RFC 8737 section 6.1: id-pe-acmeIdentifier, 1.3.6.1.5.5.7.1.31, critical.
    assert!(is_there(&asked.certificate, &[6, 8, 43, 6, 1, 5, 5, 7, 1, 31, 1, 1, 0xff]));
    // Whoever offers anything else, nothing, or asks for another name is a client like others.
    for (host, alpn, agreed) in [
        ("a.acme.test", &["acme-tls/1", "h2"][..], Some("h2")),
        ("a.acme.test", &["h2", "acme-tls/1"], Some("h2")),
        ("a.acme.test", &["http/1.1"], Some("http/1.1")),
        ("a.acme.test", &[], None),
    ] {
        let shown = shown(https, host, alpn).unwrap();
        assert_eq!((shown.alpn.as_deref(), shown.certificate == usual), (agreed, true), "{host} {alpn:?}");
    }
    assert!(shown(https, "b.acme.test", &["acme-tls/1"]).is_err());
    std::fs::remove_file(world.own("challenges").join("one")).unwrap();
    until("the challenge is closed", || shown(https, "a.acme.test", &["acme-tls/1"]).is_err());
}

fn is_there(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|found| found == part)
}

#[test]
fn certificates_are_renewed_before_their_end_though_nonces_are_refused() {
    let environment = &[("PEBBLE_WFE_NONCEREJECT", "30"), ("PEBBLE_AUTHZREUSE", "100")];
    let setup = Setup { life: 15, environment, ..Setup::default() };
    let Some(pebble) = Pebble::start(&setup) else { return };
    let entry = format!("{}settle = \"0s\"\ncertificates = [[\"a.acme.test\"]]\n", pebble.entry());
    let mut world = World::start(setup.http, setup.https, &entry);
    world.until_valid("a.acme.test");
    let first = until_shown(&world, "a.acme.test", |shown| is_for(shown, "a.acme.test"));
    let ends = world.certificate("a.acme.test")["ends"].as_i64().unwrap();
    let renewed = until_shown(&world, "a.acme.test", |shown| *shown != first);
    assert!(now() < ends, "before the end of the first one");
    assert!(is_for(&renewed, "a.acme.test"));
    world.until("a.acme.test", "ends later", |seen| seen["ends"].as_i64() > Some(ends));
    assert_eq!(world.count("an account is made"), 1);
}

/// Certificates near their end in the folder, by an authority of the test's.
fn expiring(folder: &Folder, hosts: &[&str]) {
    let _ = std::fs::create_dir(folder.path("certificates"));
    for host in hosts {
        let issued = Authority::new().issue_with(&[host], |params| {
            let now = SystemTime::now();
            params.not_before = (now - Duration::from_secs(9 * 3600)).into();
            params.not_after = (now + Duration::from_secs(3600)).into();
        });
        issued.write(&folder.path("certificates"), host);
    }
}

#[test]
fn what_is_there_is_served_while_the_authority_is_away_or_forgets_us() {
    let setup = Setup::default();
    let Some(mut pebble) = Pebble::prepare(&setup) else { return };
    let folder = Folder::new();
    expiring(&folder, &["a.acme.test", "b.acme.test"]);
    let entry = |hosts: &str| format!("{}settle = \"0s\"\ncertificates = [{hosts}]\n", pebble.entry());
    let both = entry("[\"a.acme.test\"], [\"b.acme.test\"]");
    let more = entry("[\"a.acme.test\"], [\"b.acme.test\"], [\"c.acme.test\"]");
    let mut world = World::start_in(folder, setup.http, setup.https, &both);
    world.program.until("it has failed", |program| {
        let (_, answer) = program.api("/v1/certificates");
        answer["authorities"][0]["error"].as_str().is_some_and(|said| said.contains("check `directory`"))
    });
    let old = shown(world.https, "a.acme.test", &[]).unwrap().certificate;
    assert!(world.certificate("a.acme.test")["ends"].as_i64() > Some(now()));
    assert!(world.program.metric("pointsman_acme_orders_total{authority=\"test\",result=\"failed\"}").unwrap() >= 1.0);
    pebble.run();
    for host in ["a.acme.test", "b.acme.test"] {
        until_shown(&world, host, |shown| is_for(shown, host) && *shown != old);
        world.until(host, "has no fault", |seen| seen["error"].is_null() && seen["failures"] == 0);
    }
    // It has lost everything: another account is made, and what is there is no reason to order.
    pebble.run();
    world.reload(&more);
    until_shown(&world, "c.acme.test", |shown| is_for(shown, "c.acme.test"));
    assert_eq!((world.count("an account is made"), world.count("a certificate is issued")), (2, 3));
}

#[test]
fn a_host_that_does_not_lead_here_is_told_with_its_mend_and_asked_for_ever_less() {
    // Nobody listens where the authority looks.
    let setup = Setup::default();
    let Some(pebble) = Pebble::start(&setup) else { return };
    let entry = format!(
        "{}settle = \"0s\"\ncertificates = [[\"a.acme.test\"]]\n",
        pebble.entry().replace("max_retry = \"2s\"", "max_retry = \"1h\"")
    );
    let begun = Instant::now();
    let mut world = World::start(ports::unused(), setup.https, &entry);
    world.until("a.acme.test", "has failed twice", |seen| seen["failures"].as_i64() >= Some(2));
    let seen = world.certificate("a.acme.test");
    let error = seen["error"].as_str().unwrap();
    assert!(error.contains("a.acme.test") && error.contains("port 80"), "{error}");
    assert!(world.program.log().contains("port 80"), "{}", world.program.log());
    // Of the pauses between four of them none is shorter than half of 1, 2 and 4 seconds.
    world.until("a.acme.test", "has failed four times", |seen| seen["failures"].as_i64() >= Some(4));
    assert!(begun.elapsed() >= Duration::from_millis(3500), "{:?}", begun.elapsed());
    until("nothing is left open", || std::fs::read_dir(world.own("challenges")).unwrap().next().is_none());
}

#[test]
fn an_authority_that_wants_to_be_left_alone_is() {
    let limited =
        |path: &str, _: SocketAddr| (path == "/order").then(|| problem(429, "rateLimited", "Retry-After: 3600\r\n"));
    let fake = Fake::start(limited);
    let (http, https) = (ports::unused(), ports::unused());
    let entry = format!("{}settle = \"0s\"\ncertificates = [[\"a.acme.test\"], [\"b.acme.test\"]]\n", fake.entry());
    let mut world = World::start(http, https, &entry);
    for host in ["a.acme.test", "b.acme.test"] {
        world.until(host, "has failed", |seen| seen["failures"] == 1);
        let seen = world.certificate(host);
        assert!(seen["next_order"].as_i64().unwrap() > now() + 3500, "{seen}");
        assert!(seen["error"].as_str().unwrap().contains("rateLimited"), "{seen}");
    }
    // A restart does not forget it.
    world.program.stop();
    let world = World::start_in(world.folder, http, https, &entry);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((fake.count("/order"), fake.count("/account")), (2, 1));
    assert_eq!(world.certificate("a.acme.test")["state"], "missing");
}

#[test]
fn an_authority_that_talks_nonsense_does_no_harm() {
    let nonsense = |path: &str, address: SocketAddr| match path {
        "/dir" => {
            let own = |path: &str| format!("https://{address}{path}");
            let directory = serde_json::json!({
                "newNonce": "no {url}", "newAccount": own("/account"), "newOrder": own("/order"),
            });
            Some((200, "Content-Type: application/json\r\n".to_owned(), directory.to_string()))
        }
        _ => Some((503, "Retry-After: 18446744073709551615\r\n".to_owned(), "<html>".to_owned())),
    };
    let fake = Fake::start(nonsense);
    let entry = format!("{}settle = \"0s\"\ncertificates = [[\"a.acme.test\"]]\n", fake.entry());
    let mut world = World::start(ports::unused(), ports::unused(), &entry);
    let said = |program: &common::program::Program| {
        program.api("/v1/certificates").1["authorities"][0]["error"].as_str().unwrap_or_default().to_owned()
    };
    world.program.until("it is refused", |program| said(program).contains("no directory of ACME"));
    world.reload(&entry.replace("/dir", "/other"));
    world.program.until("it is refused", |program| said(program).contains("503"));
    // Bounded, or nothing could count with it.
    let (_, answer) = world.program.api("/v1/certificates");
    let next = answer["authorities"][0]["certificates"][0]["next_order"].as_i64().unwrap();
    assert!((now() + 6 * 86_400..now() + 8 * 86_400).contains(&next), "{answer}");
    assert!(!world.program.has_ended());
}

#[test]
fn of_instances_on_one_folder_one_orders_and_all_answer() {
    let setup = Setup::default();
    let Some(pebble) = Pebble::start(&setup) else { return };
    let (shared, hosts) = (Folder::new(), ["a.acme.test", "b.acme.test", "c.acme.test"]);
    let place = shared.path("certificates");
    let base = pebble.entry().replace("folder = \"certificates\"", &format!("folder = {place:?}"));
    let listed = hosts.map(|host| format!("[\"{host}\"]")).join(", ");
    let orders = format!("{base}settle = \"3s\"\nmax_orders = 1\ncertificates = [{listed}]\n");
    let start = |http, https, entry: &str| {
        let folder = Folder::new();
        folder.write("services.toml", "# nothing\n");
        let text = format!(
            "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
             [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = {place:?}\n{entry}"
        );
        folder.configure(&text);
        let program = folder.start();
        World { folder, program, http, https }
    };
    // The authority meets one that orders nothing; two others want the same.
    let mut all = vec![start(setup.http, setup.https, &base)];
    all[0].program.until_ready();
    for _ in 0..2 {
        all.push(start(ports::unused(), ports::unused(), &orders));
    }
    for world in &mut all {
        world.program.until_ready();
    }
    for world in &all {
        for host in hosts {
            until_shown(world, host, |shown| is_for(shown, host));
        }
    }
    let count = |message: &str| all.iter().map(|world| world.count(message)).sum::<usize>();
    let (issued, ordered, accounts) =
        (count("a certificate is issued"), count("a certificate is ordered"), count("an account is made"));
    assert_eq!((issued, ordered, accounts), (3, 3, 1), "each once");
    assert_eq!(all[0].count("a certificate is ordered"), 0);
    // The one that orders dies in the middle: another one takes over.
    let new = orders.replace(&listed, "[\"d.acme.test\"]").replace("settle = \"3s\"", "settle = \"60s\"");
    let mut dying = start(ports::unused(), ports::unused(), &new);
    dying.program.until("it orders", |program| program.log().contains("a certificate is ordered"));
    until("its challenge is open", || std::fs::read_dir(place.join(".acme/challenges")).unwrap().next().is_some());
    drop(dying);
    let heir = start(ports::unused(), ports::unused(), &new.replace("settle = \"60s\"", "settle = \"3s\""));
    until_shown(&heir, "d.acme.test", |shown| is_for(shown, "d.acme.test"));
    until("nothing is left open", || std::fs::read_dir(place.join(".acme/challenges")).unwrap().next().is_none());
}

#[test]
fn an_account_of_a_customer_is_bound_rfc8555_7_3_4() {
    let setup = Setup { external_account: true, ..Setup::default() };
    let Some(pebble) = Pebble::start(&setup) else { return };
    let without = format!("{}settle = \"0s\"\ncertificates = [[\"a.acme.test\"]]\n", pebble.entry());
    let mut world = World::start(setup.http, setup.https, &without);
    world.program.until("it is refused", |program| {
        let (_, answer) = program.api("/v1/certificates");
        answer["authorities"][0]["error"].as_str().is_some_and(|said| said.contains("external_account"))
    });
    world.folder.write("hmac-key", EXTERNAL_KEY);
    let file = world.folder.path("hmac-key");
    world.reload(&format!("{without}[proxy.acme.external_account]\nkey_id = \"kid-1\"\nhmac_key_file = {file:?}\n"));
    world.until_valid("a.acme.test");
    until_shown(&world, "a.acme.test", |shown| is_for(shown, "a.acme.test"));
    assert!(!world.program.log().contains(EXTERNAL_KEY));
}

#[test]
fn hosts_of_routes_get_certificates_within_their_number() {
    let setup = Setup::default();
    let Some(pebble) = Pebble::start(&setup) else { return };
    let folder = Folder::new();
    let hosts = ["a.apps.acme.test", "b.apps.acme.test", "c.apps.acme.test", "elsewhere.acme.test"];
    folder.write("services.toml", redirecting(&hosts));
    let entry =
        format!("{}settle = \"0s\"\nroute_hosts = [\"*.apps.acme.test\"]\nmax_route_hosts = 2\n", pebble.entry());
    let mut world = World::start_in(folder, setup.http, setup.https, &entry);
    for host in &hosts[..2] {
        world.until_valid(host);
        until_shown(&world, host, |shown| is_for(shown, host));
    }
    assert_eq!(world.program.metric("pointsman_acme_hosts_left_out{authority=\"test\"}"), Some(1.0));
    assert!(world.program.log().contains("max_route_hosts"));
    // One that goes makes no room before its certificate ends; one that comes back has it still.
    world.folder.write("services.toml", redirecting(&hosts[1..]));
    world.program.until("the route is gone", |program| {
        program.api("/v1/certificates").1["authorities"][0]["certificates"].as_array().is_some_and(|all| all.len() == 1)
    });
    std::thread::sleep(Duration::from_secs(2));
    assert!(world.certificate("c.apps.acme.test").is_null());
    world.folder.write("services.toml", redirecting(&hosts));
    world.until_valid("a.apps.acme.test");
    assert_eq!(world.count("a certificate is issued"), 2);
}
