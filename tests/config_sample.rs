//! The sample configuration: current, valid as it is, and valid with every setting in force.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

use pointsman::config::access::{AccessLogConfig, TraceConfig};
use pointsman::config::checked::{
    DnsConfig, DnsLogConfig, DnsTlsConfig, ForwardConfig, GuardConfig, ListenerTlsConfig, LogConfig, ProxyConfig,
    ProxyLimits, RateLimitConfig, RoutingConfig, ServerConfig, ServicePorts, StateConfig, ZoneConfig,
};
use pointsman::config::otlp::{IS_BUILT, OtlpConfig};
use pointsman::config::{Config, Environment, check, reference_markdown, sample_file, to_json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/pointsman.toml");

fn check_with_secrets(text: &str) -> Config {
    let secret = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
        Some("cookie-secret") => Ok("000102030405060708090a0b0c0d0e0f\n".into()),
        Some("headers") => Ok("api-key=password\n".into()),
        Some("hmac-key") => Ok("emVybyBvbmUgdHdv\n".into()),
        Some("keys") => Ok("hmac-sha256:k1:AAAAAAAAAAAAAAAAAAAAAA==\n".into()),
        _ => Ok("user:password\n".into()),
    };
    let environment = Environment::new(&|_| None, &secret);
    check(text, Path::new("pointsman.toml"), environment).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Every commented setting and section in force: `#key = …` and `#[section]`; but for the one that this program refuses if
/// it was built without what is asked for.
fn everything_in_force() -> String {
    let refused = if IS_BUILT { "" } else { "#endpoint = " };
    let uncomment =
        |line: &str| match line.strip_prefix('#').filter(|_| refused.is_empty() || !line.starts_with(refused)) {
            Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
    sample_file().lines().map(uncomment).collect()
}

#[test]
fn the_file_in_the_repository_is_current() {
    let committed = std::fs::read_to_string(FILE).unwrap();
    assert!(
        committed == sample_file(),
        "config/pointsman.toml is not current; write it anew with: cargo run -- config sample > config/pointsman.toml"
    );
}

#[test]
fn the_sample_is_valid_and_serves_something() {
    let config = check(&sample_file(), Path::new("pointsman.toml"), Environment::empty()).unwrap();
    assert_eq!(config.mesos.len(), 1);
    assert_eq!(config.dns.listen.len(), 1);
    assert_eq!(config.proxy.listeners.len(), 1);
    assert!(config.admin.listen.is_some());
}

#[test]
fn every_commented_setting_is_valid() {
    let config = check_with_secrets(&everything_in_force());
    assert_eq!((config.mesos.len(), config.files.len(), config.policies.len()), (2, 1, 1));
    assert_eq!(config.marathon.len(), 2);
    assert_eq!((config.proxy.listeners.len(), config.proxy.acme.len()), (3, 1));
    assert!(config.admin.tls.is_some() && config.admin.token.is_some());
}

#[test]
fn what_the_sample_calls_a_default_is_the_default() {
    let config = check_with_secrets(&everything_in_force());
    let hand_over = config.server.hand_over.clone();
    let server = ServerConfig { workers: config.server.workers, hand_over, ..ServerConfig::default() };
    assert_eq!(config.server, server);
    assert_eq!(config.log, LogConfig::default());
    assert_eq!(config.state, StateConfig { path: config.state.path.clone(), ..StateConfig::default() });
    assert_eq!(config.mesos[0].guard, GuardConfig::default());
    assert_eq!(config.proxy.limits, ProxyLimits::default());
    let routing = RoutingConfig { groups: config.routing.groups.clone(), ..RoutingConfig::default() };
    assert_eq!(config.routing, routing);
    let proxy = ProxyConfig {
        listeners: config.proxy.listeners.clone(),
        trusted_proxies: config.proxy.trusted_proxies.clone(),
        request_id: config.proxy.request_id.clone(),
        error_pages: config.proxy.error_pages.clone(),
        access_log: AccessLogConfig { path: config.proxy.access_log.path.clone(), ..AccessLogConfig::default() },
        trace: TraceConfig {
            otlp: OtlpConfig {
                endpoint: config.proxy.trace.otlp.endpoint.clone(),
                headers: config.proxy.trace.otlp.headers.clone(),
                ca: config.proxy.trace.otlp.ca.clone(),
                attributes: config.proxy.trace.otlp.attributes.clone(),
                ..OtlpConfig::default()
            },
            ..TraceConfig::default()
        },
        zone: ZoneConfig {
            name: config.proxy.zone.name.clone(),
            region: config.proxy.zone.region.clone(),
            ..ZoneConfig::default()
        },
        filters: config.proxy.filters.clone(),
        acme: config.proxy.acme.clone(),
        service_ports: ServicePorts {
            addresses: config.proxy.service_ports.addresses.clone(),
            assigned: config.proxy.service_ports.assigned,
            certificates: config.proxy.service_ports.certificates.clone(),
            proxy_protocol: config.proxy.service_ports.proxy_protocol.clone(),
            ..ServicePorts::default()
        },
        tls: ListenerTlsConfig { ticket_keys: config.proxy.tls.ticket_keys.clone(), ..ListenerTlsConfig::default() },
        ..ProxyConfig::default()
    };
    assert_eq!(config.proxy, proxy);
    let named = &config.dns.forward;
    let forward = ForwardConfig {
        upstreams: named.upstreams.clone(),
        zones: named.zones.clone(),
        ca: named.ca.clone(),
        search: named.search.clone(),
        ..ForwardConfig::default()
    };
    let dns = DnsConfig {
        forward,
        listen: config.dns.listen.clone(),
        nameserver_addresses: config.dns.nameserver_addresses.clone(),
        cookie_secret: config.dns.cookie_secret.clone(),
        identity: config.dns.identity.clone(),
        reverse: config.dns.reverse.clone(),
        allow: config.dns.allow.clone(),
        transfer: config.dns.transfer.clone(),
        log: DnsLogConfig {
            path: config.dns.log.path.clone(),
            dnstap: config.dns.log.dnstap.clone(),
            ..DnsLogConfig::default()
        },
        tls: DnsTlsConfig {
            listen: config.dns.tls.listen.clone(),
            https_listen: config.dns.tls.https_listen.clone(),
            certificates: config.dns.tls.certificates.clone(),
            ..DnsTlsConfig::default()
        },
        rate_limit: RateLimitConfig { exempt: config.dns.rate_limit.exempt.clone(), ..RateLimitConfig::default() },
        locality: config.dns.locality.clone(),
        dcos: config.dns.dcos.clone(),
        ..DnsConfig::default()
    };
    assert_eq!(config.dns, dns);
}

#[test]
fn an_empty_section_changes_nothing() {
    let least = "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n[dns]\n[proxy.limits]\n";
    let config = check_with_secrets(least);
    let expected = Config { files: config.files.clone(), ..Config::default() };
    assert_eq!(config, expected);
    assert_eq!(config.files[0].path, Path::new("services.toml"));
}

#[test]
fn the_view_has_every_setting_and_no_secret() {
    let config = check_with_secrets(&everything_in_force());
    let view = to_json(&config);
    assert!(!view.to_string().contains("password"));
    assert_eq!(view["admin"]["token"], "[hidden]");
    assert_eq!(view["proxy"]["trace"]["otlp"]["headers"], "[hidden]");
    assert_eq!(view["sources"]["mesos"][0]["secret"], "[hidden]");
    assert_eq!(view["sources"]["mesos"][1]["zookeeper_auth"], "[hidden]");
    assert_eq!(view["sources"]["mesos"][0]["guard"]["max_share"], 0.2);
    assert_eq!(view["proxy"]["limits"]["header"], "10s");
    assert_eq!(view["proxy"]["listeners"][1]["address"], "127.0.0.1:10443");
    assert_eq!(view["policy"][0]["hosts"][0], "*.team-a.example.com");
}

#[test]
fn the_view_is_a_configuration_again() {
    let text = "[[sources.mesos]]\nname = \"m\"\nzone = \"m\"\nmasters = \"zk://z/m\"\nmax_backoff = \"1500ms\"\n\
                [server]\nworkers = 3\n[proxy.limits]\nhead_size = 5000\n[routing]\ngroups = [\"a\", \"b\"]\n";
    let config = check_with_secrets(text);
    let mut view = to_json(&config);
    remove_nulls(&mut view);
    let again = check_with_secrets(&toml::to_string(&view).unwrap());
    assert_eq!(again, config);
}

fn remove_nulls(value: &mut serde_json::Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(remove_nulls);
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(remove_nulls);
    }
}

#[test]
fn sample_and_reference_list_the_same_settings() {
    let reference = reference_markdown();
    let in_reference: BTreeSet<String> =
        reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect();
    let sample = sample_file();
    for key in &in_reference {
        let is_in_sample = sample.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.starts_with(&format!("{key} = ")) || line.starts_with(&format!("{key}_file = "))
        });
        assert!(is_in_sample, "{key}");
    }
    assert!(in_reference.len() > 50);
    let mut rows = reference.lines().filter(|line| line.starts_with("| "));
    assert!(rows.all(|row| row.matches(" | ").count() == 4), "every row has five cells");
}
