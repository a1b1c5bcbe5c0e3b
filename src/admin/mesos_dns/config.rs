//! `/v1/config`: our configuration in Mesos-DNS's words, secrets hidden.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Api, absolute};
use crate::admin::secrets::HIDDEN;
use crate::config::checked::{LabelRule, Masters, MesosCredentials, UpstreamServer};

/// In the order of Mesos-DNS's fields, with their names in Go.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Document {
    refresh_seconds: u64,
    port: u16,
    timeout: u64,
    state_timeout_seconds: u64,
    zk_detection_timeout: u64,
    http_port: u16,
    #[serde(rename = "TTL")]
    ttl: u32,
    #[serde(rename = "SRVRecordDefaultWeight")]
    srv_record_default_weight: u16,
    #[serde(rename = "SOASerial")]
    soa_serial: u32,
    #[serde(rename = "SOARefresh")]
    soa_refresh: u32,
    #[serde(rename = "SOARetry")]
    soa_retry: u32,
    #[serde(rename = "SOAExpire")]
    soa_expire: u32,
    #[serde(rename = "SOAMinttl")]
    soa_minttl: u32,
    #[serde(rename = "SOAMname")]
    soa_mname: String,
    #[serde(rename = "SOARname")]
    soa_rname: String,
    /// Null where ZooKeeper says who they are.
    masters: Option<Vec<String>>,
    zone_resolvers: BTreeMap<String, Vec<String>>,
    resolvers: Vec<String>,
    #[serde(rename = "IPSources")]
    ip_sources: Vec<&'static str>,
    zk: String,
    domain: String,
    file: String,
    listener: String,
    #[serde(rename = "HTTPListener")]
    http_listener: String,
    recurse_on: bool,
    dns_on: bool,
    http_on: bool,
    external_on: bool,
    #[serde(rename = "EnforceRFC952")]
    enforce_rfc952: bool,
    set_truncate_bit: bool,
    enumeration_on: bool,
    #[serde(rename = "MesosHTTPSOn")]
    mesos_https_on: bool,
    #[serde(rename = "CACertFile")]
    ca_cert_file: String,
    cert_file: String,
    key_file: String,
    mesos_credentials: Credentials,
    #[serde(rename = "IAMConfigFile")]
    iam_config_file: String,
    mesos_authentication: &'static str,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    principal: String,
    secret: &'static str,
}

pub(super) fn document(api: &Api<'_>) -> Document {
    let (dns, admin, mesos) = (&api.table.config.dns, &api.table.config.admin, api.mesos);
    let (masters, zk) = match &mesos.masters {
        Masters::List(masters) => (Some(masters.clone()), String::new()),
        Masters::ZooKeeper { servers, path, auth } => {
            let hidden = if auth.is_some() { format!("{HIDDEN}@") } else { String::new() };
            (None, format!("zk://{hidden}{}{path}", servers.join(",")))
        }
    };
    let tls = mesos.tls.clone().unwrap_or_default();
    let path =
        |path: Option<std::path::PathBuf>| path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let (mesos_credentials, iam_config_file, mesos_authentication) = match &mesos.credentials {
        Some(MesosCredentials::Basic { principal, .. }) => {
            (Credentials { principal: principal.clone(), secret: HIDDEN }, String::new(), "basic")
        }
        Some(MesosCredentials::ServiceAccount(file)) => {
            (Credentials::default(), file.to_string_lossy().into_owned(), "iam")
        }
        _ => (Credentials::default(), String::new(), ""),
    };
    let servers = |servers: &[UpstreamServer]| servers.iter().map(ToString::to_string).collect();
    let forwards = !dns.forward.upstreams.is_empty() || !dns.forward.zones.is_empty();
    let listener = dns.listen.first();
    let http = admin.mesos_dns_listen;
    Document {
        refresh_seconds: api.refresh_seconds(),
        port: listener.map_or(53, std::net::SocketAddr::port),
        timeout: dns.forward.timeout.as_secs(),
        state_timeout_seconds: mesos.poll_timeout.as_secs(),
        zk_detection_timeout: 0,
        http_port: http.map_or(8123, |address| address.port()),
        ttl: dns.ttl_seconds,
        srv_record_default_weight: dns.srv_weight,
        soa_serial: api.serial(),
        soa_refresh: dns.soa_refresh_seconds,
        soa_retry: dns.soa_retry_seconds,
        soa_expire: dns.soa_expire_seconds,
        soa_minttl: dns.negative_ttl_seconds,
        soa_mname: format!("{}.", api.nameserver()),
        soa_rname: format!("{}.", absolute(&dns.contact, &mesos.zone)),
        masters,
        zone_resolvers: dns
            .forward
            .zones
            .iter()
            .map(|zone| (zone.zone.to_string(), servers(&zone.upstreams)))
            .collect(),
        resolvers: servers(&dns.forward.upstreams),
        ip_sources: dns.ip_sources.iter().map(|source| source.as_str()).collect(),
        zk,
        domain: mesos.zone.to_string(),
        file: String::new(),
        listener: listener.map(|address| address.ip().to_string()).unwrap_or_default(),
        http_listener: http.map(|address| address.ip().to_string()).unwrap_or_default(),
        recurse_on: forwards && dns.forward.says_available,
        dns_on: listener.is_some(),
        http_on: http.is_some(),
        external_on: forwards,
        enforce_rfc952: dns.label_rule == LabelRule::Rfc952,
        set_truncate_bit: true,
        enumeration_on: admin.mesos_dns_enumeration,
        mesos_https_on: mesos.tls.is_some(),
        ca_cert_file: path(tls.ca),
        cert_file: path(tls.certificate),
        key_file: path(tls.key),
        mesos_credentials,
        iam_config_file,
        mesos_authentication,
    }
}
