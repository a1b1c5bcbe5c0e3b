//! What is said of a wrong configuration: all faults at once, each with place, key and mend.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::io;
use std::path::Path;

use pointsman::config::checked::{Masters, MesosCredentials, Secret};
use pointsman::config::{Config, ConfigErrors, Environment, check, load};

/// A source in one line, so that the rest of the text, from line 2, is what counts.
const SOURCE: &str = "sources.file = [{ name = \"static\", path = \"services.toml\" }]\n";

fn run(text: &str) -> Result<Config, ConfigErrors> {
    let environment = Environment::new(
        &|name| match name {
            "POINTSMAN_SOURCES_MESOS_MAIN_1_SECRET" => Some("from the environment\n".into()),
            "POINTSMAN_SOURCES_MESOS_TWICE_TOKEN" | "POINTSMAN_SOURCES_MESOS_TWICE_TOKEN_FILE" => Some("/x".into()),
            "POINTSMAN_SOURCES_MESOS_FILED_TOKEN_FILE" => Some("/run/token".into()),
            _ => None,
        },
        &|path| match path.to_str() {
            Some("/run/token") => Ok("  from a file\n".into()),
            Some("/run/lines") => Ok("s3cret\nsecond\n".into()),
            Some("etc/relative") => Ok("relative".into()),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
        },
    );
    check(text, Path::new("etc/p.toml"), environment)
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let errors = run(text).expect_err("the text should be refused");
    assert_eq!(errors.to_string().lines().collect::<Vec<_>>(), expected);
}

#[track_caller]
fn refused_beside_source(text: &str, expected: &[&str]) {
    refused(&format!("{SOURCE}{text}"), expected);
}

#[test]
fn all_faults_at_once() {
    refused(
        r#"
[proxy.limits]
heade = "10s"
connect = 10
idle = "2d"
head_size = "64KB"

[dns]
listen = ["127.0.0.1:10053", "localhost:53", 53]
ttl = "1500ms"

[log]
level = "inof"
format = "xml"

[[sources.mesos]]
name = "Main"
masters = "zk://zk1:2181"
guard.max_share = 1.5

[servers]
"#,
        &[
            "etc/p.toml:3:1: proxy.limits.heade: there is no such key; did you mean `header`?",
            "etc/p.toml:4:11: proxy.limits.connect: found a whole number, expected a duration; write it like \"10s\", \"250ms\" or \"5m\"",
            "etc/p.toml:5:8: proxy.limits.idle: 2d is out of range; choose from 1ms to 1d",
            "etc/p.toml:6:13: proxy.limits.head_size: \"64KB\" is no size; write it like \"64KiB\" or 65536; units are B, KiB, MiB, GiB",
            "etc/p.toml:9:30: dns.listen: \"localhost:53\" is no address with a port; write it like \"0.0.0.0:80\" or \"[::]:80\"; host names are not resolved",
            "etc/p.toml:9:46: dns.listen: found a whole number, expected an address with a port; write it like \"0.0.0.0:80\" or \"[::]:80\"",
            "etc/p.toml:10:7: dns.ttl: the duration has parts of a second; DNS counts in whole seconds: write it like \"5s\"",
            "etc/p.toml:13:9: log.level: \"inof\" is not a log level or filter: \"inof\" is none of off, error, warn, info, debug, trace; write it like \"info\" or \"info,hyper=warn\"",
            "etc/p.toml:14:10: log.format: \"xml\" is none of the words known here; write \"text\" or \"json\"",
            "etc/p.toml:16:1: sources.mesos[0].zone: the setting is missing; add it like `zone = \"mesos\"`",
            "etc/p.toml:17:8: sources.mesos[0].name: \"Main\" is not a name: 1 to 63 lower-case letters, digits and inner hyphens are allowed; write it like \"main\"",
            "etc/p.toml:18:11: sources.mesos[0].masters: the path of the masters' nodes in ZooKeeper is missing; write it like \"zk://zk1:2181,zk2:2181/mesos\"",
            "etc/p.toml:19:19: sources.mesos[0].guard.max_share: the number is out of range; choose from 0 to 1",
            "etc/p.toml:21:2: servers: there is no such key; did you mean `server`?",
        ],
    );
}

#[test]
fn syntax_errors_are_told_alone() {
    refused(
        "[server]\nworkers = \n[dns\nlisten = []\n",
        &[
            "etc/p.toml:2:11: this is no TOML: string values must be quoted, expected literal string; mend it here; further faults of the settings are shown then",
            "etc/p.toml:3:5: this is no TOML: unclosed table, expected `]`; mend it here; further faults of the settings are shown then",
        ],
    );
}

#[test]
fn shapes() {
    refused_beside_source(
        "dns = 1\npolicy = 1\nproxy.listeners = [1]\nadmin.token = 1\nlog.colour = true\n",
        &[
            "etc/p.toml:2:7: dns: found a whole number, expected a section; write it as [dns] with its settings below",
            "etc/p.toml:3:10: policy: found a whole number, expected a list of tables; write [[policy]] with double brackets",
            "etc/p.toml:4:20: proxy.listeners: found a whole number, expected a table; write it as [[proxy.listeners]]",
            "etc/p.toml:5:15: admin.token: found a whole number, expected a secret; write it like \"…\"",
            "etc/p.toml:6:5: log.colour: there is no such key; remove it; known in [log]: level, format",
        ],
    );
    refused(
        "[sources.mesos]\nname = \"m\"\n",
        &[
            "etc/p.toml:1:1: sources.mesos: found a table, expected a list of tables; write [[sources.mesos]] with double brackets",
        ],
    );
}

#[test]
fn no_source() {
    refused(
        "",
        &[
            "etc/p.toml: sources: there is no source: nothing could be served; add a [[sources.mesos]] with `name`, `zone` and `masters`, or a [[sources.file]]",
        ],
    );
}

#[test]
fn names_and_zones_are_unique() {
    refused(
        r#"
[[sources.mesos]]
name = "a"
zone = "mesos"
masters = ["h1"]
[[sources.mesos]]
name = "b"
cluster = "c"
zone = "Mesos."
masters = ["h2"]
[[sources.file]]
name = "a"
path = "f"
zones = ["east.mesos"]
[[sources.file]]
name = "c"
path = "f"
zones = ["othermesos"]
"#,
        &[
            "etc/p.toml:8:11: sources.mesos[1].cluster: \"c\" is the cluster of a file; give the cluster or the file another name",
            "etc/p.toml:9:8: sources.mesos[1].zone: sources.mesos[0].zone is \"mesos\" too; give each source zones of its own, side by side",
            "etc/p.toml:12:8: sources.file[0].name: sources.mesos[0].name has the name \"a\" too; give each source a name of its own",
            "etc/p.toml:14:9: sources.file[0].zones: \"east.mesos\" and \"mesos\" of sources.mesos[0].zone lie within one another; give each source zones of its own, side by side",
        ],
    );
}

#[test]
fn addresses_stand_once() {
    refused_beside_source(
        r#"
dns.listen = ["127.0.0.1:53", "[::]:53", "127.0.0.1:0"]
proxy.listeners = [{ name = "a", address = "0.0.0.0:53" }, { name = "a", address = "127.0.0.1:0" }]
[admin]
listen = "127.0.0.1:81"
metrics_listen = "127.0.0.1:81"
"#,
        &[
            "etc/p.toml:4:44: proxy.listeners[0].address: 0.0.0.0:53 and 127.0.0.1:53 of dns.listen overlap; choose another port",
            "etc/p.toml:4:69: proxy.listeners[1].name: proxy.listeners[0].name has the name \"a\" too; give each listener a name of its own",
            "etc/p.toml:7:18: admin.metrics_listen: admin.listen listens on 127.0.0.1:81 too; choose another port",
        ],
    );
}

#[test]
fn an_open_admin_listener_needs_tls_and_token() {
    let open =
        "etc/p.toml:2:16: admin.listen: 0.0.0.0:81 can be reached from other machines without TLS and a token; add ";
    let listen = "admin.listen = \"0.0.0.0:81\"\n";
    let tls = "admin.certificate = \"c\"\nadmin.key = \"k\"\n";
    let token = "admin.token = \"t\"\n";
    let expect = |missing: &str| format!("{open}{missing}, or listen on 127.0.0.1");
    refused_beside_source(listen, &[&expect("`certificate`, `key` and `token_file`")]);
    refused_beside_source(&format!("{listen}{tls}"), &[&expect("`token_file`")]);
    refused_beside_source(&format!("{listen}{token}"), &[&expect("`certificate` and `key`")]);
    assert!(run(&format!("{SOURCE}{listen}{tls}{token}")).is_ok());
    assert!(run(&format!("{SOURCE}admin.listen = \"[::1]:81\"\n")).is_ok());
}

#[test]
fn certificates_come_with_keys() {
    refused_beside_source(
        "admin.certificate = \"c\"\n",
        &["etc/p.toml:2:21: admin.certificate: the certificate has no key; add `key`"],
    );
    refused(
        r#"
[[sources.mesos]]
name = "m"
zone = "m"
masters = ["http://h"]
tls.key = "k"
"#,
        &[
            "etc/p.toml:6:1: sources.mesos[0].tls: the masters are spoken to in clear text (http://); write https:// before the masters, or remove the section",
            "etc/p.toml:6:11: sources.mesos[0].tls.key: the key has no certificate; add `certificate`",
        ],
    );
}

#[test]
fn policies_name_hosts() {
    refused_beside_source(
        "[[policy]]\nframeworks = [\"a*b\"]\npaths = [\"api\"]\nports = [0]\n",
        &[
            "etc/p.toml:2:1: policy[0].hosts: the setting is missing; add it like `hosts = [\"*.team-a.example.com\"]`",
            "etc/p.toml:3:15: policy[0].frameworks: \"a*b\" is not a pattern: `*` can only stand at its beginning and its end; write it like \"team-a-*\"",
            "etc/p.toml:4:10: policy[0].paths: \"api\" is not a path prefix: it begins with `/` and has neither `?`, `#` nor white space; write it like \"/api\"",
            "etc/p.toml:5:10: policy[0].ports: the number is out of range; choose from 1 to 65535",
        ],
    );
}

/// A cluster with this name and these further lines, from line 5.
fn mesos(name: &str, lines: &str) -> String {
    format!("[[sources.mesos]]\nname = \"{name}\"\nzone = \"m\"\nmasters = [\"https://h\"]\n{lines}")
}

fn credentials(name: &str, lines: &str) -> MesosCredentials {
    let config = run(&mesos(name, lines)).unwrap_or_else(|errors| panic!("{errors}"));
    config.mesos[0].credentials.clone().unwrap()
}

#[test]
fn secrets_come_from_the_file_another_file_or_the_environment() {
    let basic = |secret: &str| MesosCredentials::Basic { principal: "p".into(), secret: Secret(secret.into()) };
    let token = |secret: &str| MesosCredentials::Token(Secret(secret.into()));
    assert_eq!(credentials("a", "principal = \"p\"\nsecret = \"here\"\n"), basic("here"));
    assert_eq!(credentials("a", "token_file = \"/run/token\"\n"), token("from a file"));
    assert_eq!(credentials("a", "token_file = \"relative\"\n"), token("relative"));
    assert_eq!(credentials("main-1", "principal = \"p\"\n"), basic("from the environment"));
    assert_eq!(credentials("main-1", "principal = \"p\"\nsecret = \"here\"\n"), basic("from the environment"));
    assert_eq!(credentials("filed", "token_file = \"/missing\"\n"), token("from a file"));
}

#[test]
fn wrong_secrets() {
    refused(
        &mesos("a", "token = \"t\"\ntoken_file = \"/run/token\"\n"),
        &[
            "etc/p.toml:6:14: sources.mesos[0].token_file: `token` and `token_file` are both given; remove one of the two",
        ],
    );
    refused(
        &mesos("a", "token_file = \"missing\"\n"),
        &[
            "etc/p.toml:5:14: sources.mesos[0].token_file: the file etc/missing with the secret cannot be read: no such file; check the path and who may read it",
        ],
    );
    refused(
        &mesos("a", "token_file = \"/run/lines\"\n"),
        &[
            "etc/p.toml:5:14: sources.mesos[0].token_file: the secret cannot be used: it has a line end or another control character (from the file /run/lines); write it in one line",
        ],
    );
    refused(
        &mesos("twice", ""),
        &[
            "etc/p.toml:1:1: sources.mesos[0].token: the environment has both POINTSMAN_SOURCES_MESOS_TWICE_TOKEN and POINTSMAN_SOURCES_MESOS_TWICE_TOKEN_FILE; unset one of the two",
        ],
    );
}

#[test]
fn credentials_fit_together() {
    refused(
        &mesos("a", "principal = \"p\"\n"),
        &[
            "etc/p.toml:5:13: sources.mesos[0].principal: the principal has no secret; add `secret_file`, or remove the principal",
        ],
    );
    refused(
        &mesos("a", "secret = \"s3cret\"\n"),
        &[
            "etc/p.toml:5:10: sources.mesos[0].secret: the secret has no principal; add `principal`, or remove the secret",
        ],
    );
    refused(
        &mesos("a", "principal = \"p\"\nsecret = \"s\"\ntoken = \"t\"\n"),
        &[
            "etc/p.toml:7:9: sources.mesos[0].token: a token and a principal with its secret are both given; remove one of the two",
        ],
    );
    refused(
        &mesos("a", "zookeeper_auth = \"u:p\"\n"),
        &[
            "etc/p.toml:5:18: sources.mesos[0].zookeeper_auth: the masters are not found through ZooKeeper; remove it, or give `masters` a zk:// URL",
        ],
    );
    refused(
        &mesos("a", "[sources.mesos.guard]\nconfirm_after = \"1h\"\n"),
        &[
            "etc/p.toml:5:1: sources.mesos[0].guard.give_up_after: the hold would end by itself before a second look could confirm it; choose a longer time than `confirm_after`, or shorten that",
        ],
    );
}

#[test]
fn a_cluster_through_zookeeper() {
    let text = "[[sources.mesos]]\nname = \"m\"\nzone = \"M.\"\nmasters = \"zk://zk1,zk2:2182/mesos\"\n\
                zookeeper_auth = \"u:p\"\ntls = {}\n";
    let config = run(text).unwrap();
    let expected = Masters::ZooKeeper {
        servers: vec!["zk1:2181".into(), "zk2:2182".into()],
        path: "/mesos".into(),
        auth: Some(Secret("u:p".into())),
    };
    let mesos = &config.mesos[0];
    assert_eq!(mesos.masters, expected);
    assert_eq!((mesos.cluster.as_str(), &*mesos.zone, mesos.tls.is_some()), ("m", "m", true));
}

#[test]
fn errors_serialise() {
    let errors = run("").unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json["errors"][0]["key"], "sources");
    assert_eq!(json["errors"][0]["file"], "etc/p.toml");
    assert_eq!(json["omitted"], 0);
}

#[test]
fn a_file_that_is_not_there() {
    let errors = load(Path::new("/nonexistent/pointsman.toml")).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "/nonexistent/pointsman.toml: the file cannot be read: No such file or directory (os error 2); \
         check the path and who may read it; `pointsman config sample` writes a new one"
    );
}

#[test]
fn forwarding_that_leads_nowhere() {
    refused(
        r#"
[dns.forward]
upstreams = ["dns.example"]
min_ttl = "2h"
max_ttl = "1h"

[[dns.forward.zone]]
zone = "slave.mesos"
upstreams = ["10.0.0.1"]

[[dns.forward.zone]]
zone = "corp"
upstreams = []

[[dns.forward.zone]]
zone = "Corp."
upstreams = ["10.0.0.1"]

[[sources.mesos]]
name = "mesos"
zone = "mesos"
masters = ["127.0.0.1:5050"]
"#,
        &[
            "etc/p.toml:3:14: dns.forward.upstreams: \"dns.example\" is no DNS server; write it like \"10.0.0.53\", \
             \"tcp://10.0.0.53:5353\" or \"tls://1.1.1.1#cloudflare-dns.com\"; host names are not resolved",
            "etc/p.toml:4:11: dns.forward.min_ttl: it is longer than `max_ttl`; choose a shorter time than `max_ttl`",
            "etc/p.toml:8:8: dns.forward.zone[0].zone: \"slave.mesos\" lies in the zone \"mesos\" that is answered here; \
             remove it, or give what has that zone another one",
            "etc/p.toml:13:13: dns.forward.zone[1].upstreams: 0 servers are here, 1 to 16 are allowed; write it like \
             [\"10.0.0.53\"]",
            "etc/p.toml:16:8: dns.forward.zone[2].zone: \"corp\" is forwarded by another entry too; put the servers into \
             one entry",
        ],
    );
    refused_beside_source(
        "[dns]\nlisten = [\"0.0.0.0:10053\"]\n[dns.forward]\nupstreams = [\"10.0.0.1\", \"127.0.0.1:10053\"]\n",
        &[
            "etc/p.toml:5:13: dns.forward.upstreams: 127.0.0.1:10053 is this server itself: queries would go round in circles; \
           name another server, or listen elsewhere",
        ],
    );
}

/// What a program says that was built without what it is asked for: `cargo test --test config_errors` has it. The rule itself is
/// tested with either build, beside `config::combine`.
#[cfg(not(feature = "otlp"))]
#[test]
fn spans_need_a_program_that_sends_them() {
    refused_beside_source(
        "[proxy.trace.otlp]\nservice = \"edge\"\nendpoint = \"http://127.0.0.1:4318\"\n",
        &[
            "etc/p.toml:4:12: proxy.trace.otlp.endpoint: this program was built without what sends spans (the feature `otlp`); \
           build it with `cargo build --release --features otlp`, or remove the setting",
        ],
    );
    // Without an endpoint nothing is asked for.
    run(&format!("{SOURCE}[proxy.trace.otlp]\nservice = \"edge\"\n")).unwrap();
}

#[cfg(feature = "otlp")]
#[test]
fn spans_are_sent_where_the_settings_say() {
    run(&format!("{SOURCE}[proxy.trace.otlp]\nendpoint = \"http://127.0.0.1:4318\"\n")).unwrap();
    refused_beside_source(
        "[proxy.trace.otlp]\nendpoint = \"127.0.0.1:4317\"\nattributes = [\"edge\"]\nheaders = \"s3cret\"\n",
        &[
            "etc/p.toml:3:12: proxy.trace.otlp.endpoint: \"127.0.0.1:4317\" is no http or https URL without a query; write it like \"https://auth.example.com/verify\"",
            "etc/p.toml:4:15: proxy.trace.otlp.attributes: \"edge\" is not an attribute: it is a name, `=`, and a value; write it like \"service.instance.id=edge-1\"",
            "etc/p.toml:5:11: proxy.trace.otlp.headers: the secret is no list of header fields; write 1 to 64 fields like NAME=VALUE, with commas between; connection, content-encoding, content-length, content-type, host, te, transfer-encoding, upgrade are not among them",
        ],
    );
}

#[test]
fn authorities_of_certificates() {
    let entry = |more: &str| {
        format!(
            "[[proxy.acme]]\nname = \"one\"\ndirectory = \"https://ca.test/directory\"\nterms_agreed = true\n\
             folder = \"certificates\"\n{more}"
        )
    };
    assert!(run(&format!("{SOURCE}{}", entry("certificates = [[\"a.test\", \"B.test\"]]\n"))).is_ok());
    refused_beside_source(
        &entry(
            "certificates = [[\"*.a.test\"], [\"10.0.0.1\"], []]\ncontacts = [\"ops@a.test\"]\nmax_retry = \"10s\"\n",
        )
        .replace("true", "false")
        .replace("https", "http"),
        &[
            "etc/p.toml:4:13: proxy.acme[0].directory: \"http://ca.test/directory\" is no https URL; write it like \"https://acme.example.com/directory\"",
            "etc/p.toml:5:16: proxy.acme[0].terms_agreed: without it the authority makes no account; read them (the directory's `termsOfService` says where they are), then set it to true",
            "etc/p.toml:7:18: proxy.acme[0].certificates: \"*.a.test\" is not a host: wildcards need the challenge dns-01, which is not supported; list the hosts; write it like \"shop.example.com\"",
            "etc/p.toml:7:32: proxy.acme[0].certificates: \"10.0.0.1\" is not a host: addresses get no certificate here; write names; write it like \"shop.example.com\"",
            "etc/p.toml:7:45: proxy.acme[0].certificates: 0 hosts are here, 1 to 100 are allowed; write it like [\"shop.example.com\"]",
            "etc/p.toml:8:13: proxy.acme[0].contacts: \"ops@a.test\" is not a contact: it is `mailto:` and one mail address; write it like \"mailto:ops@example.com\"",
            "etc/p.toml:9:13: proxy.acme[0].max_retry: it is shorter than `retry`; choose a longer time than `retry`, or shorten that",
        ],
    );
    let second = entry("").replace("one", "two");
    refused_beside_source(
        &format!("{}{second}", entry("certificates = [[\"a.test\"], [\"a.test\", \"b.test\"]]\n")),
        &[
            "etc/p.toml:7:16: proxy.acme[0].certificates: two certificates would be kept as a.test.crt; put the hosts into one list, or begin one of the lists with another host",
            "etc/p.toml:12:10: proxy.acme[1].folder: proxy.acme[0] has this folder too; give each authority a folder of its own",
        ],
    );
    refused_beside_source(
        &entry("[proxy.acme.external_account]\nkey_id = \"kid-1\"\n"),
        &["etc/p.toml:8:10: proxy.acme[0].external_account.key_id: the key itself is missing; add `hmac_key_file`"],
    );
    refused_beside_source(
        &entry("[proxy.acme.external_account]\nkey_id = \"kid-1\"\nhmac_key = \"no base64\"\n"),
        &[
            "etc/p.toml:9:12: proxy.acme[0].external_account.hmac_key: the key (9 characters) is not in base64url; copy it as the authority gave it",
        ],
    );
}

#[test]
fn certificates_of_clients_come_with_tls_and_revocation_with_them() {
    let listener = |more: &str| format!("[[proxy.listeners]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n{more}");
    refused_beside_source(
        &listener("client_ca = \"ca.pem\"\n"),
        &[
            "etc/p.toml:5:13: proxy.listeners[0].client_ca: in clear text no client shows a certificate; add `certificates` or `pairs`, or remove it",
        ],
    );
    refused_beside_source(
        &listener("certificates = \"c\"\nclient_crl = [\"clients.crl\"]\n"),
        &[
            "etc/p.toml:6:14: proxy.listeners[0].client_crl: clients are asked for no certificate; add `client_ca`, or remove it",
        ],
    );
    refused_beside_source(
        &listener("pairs = [{ key = \"a.key\" }, 1]\n"),
        &[
            "etc/p.toml:5:10: proxy.listeners[0].pairs[0].certificate: the setting is missing; add it like `certificate = \"/etc/pointsman/shop.pem\"`",
            "etc/p.toml:5:29: proxy.listeners[0].pairs: found a whole number, expected a table; write it as [[proxy.listeners.pairs]]",
        ],
    );
    let config = run(&format!(
        "{SOURCE}{}",
        listener(
            "client_ca = \"ca.pem\"\nclient_crl = [\"one.crl\", \"two.crl\"]\n\
             [[proxy.listeners.pairs]]\ncertificate = \"whole.pem\"\n\
             [[proxy.listeners.pairs]]\ncertificate = \"shop.crt\"\nkey = \"/k/shop.key\"\n"
        )
    ))
    .unwrap();
    let listener = &config.proxy.listeners[0];
    let files = |files: &[&str]| files.iter().map(std::path::PathBuf::from).collect::<Vec<_>>();
    let pairs: Vec<_> = listener.pairs.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]).collect();
    assert_eq!(pairs, files(&["etc/whole.pem", "etc/whole.pem", "etc/shop.crt", "/k/shop.key"]));
    assert_eq!(listener.client_crl, files(&["etc/one.crl", "etc/two.crl"]));
    assert!(listener.speaks_tls());
}
