//! What settings must be together: combinations that no single value shows to be wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::acme::AcmeConfig;
use super::checked::{Masters, UpstreamServer};
use super::kind::masters::Scheme;
use super::otlp;
use super::raw::{Raw, RawMarathon, RawMesos, RawPair};
use super::reader::Reader;
use crate::labels;
use crate::model::endpoint_tls::INSECURE;
use crate::model::reverse::zones_of;

/// Notes every impossible combination. Values that were at fault themselves are absent here and say nothing again.
pub(crate) fn check_combinations(raw: &Raw, reader: &mut Reader<'_>) {
    some_source(raw, reader);
    names(raw, reader);
    clusters(raw, reader);
    zones(raw, reader);
    dcos(raw, reader);
    for (position, mesos) in raw.mesos.iter().enumerate() {
        let path = format!("sources.mesos[{position}]");
        credentials(mesos, &path, reader);
        zookeeper(mesos, &path, reader);
        mesos_tls(mesos, &path, reader);
        guard(mesos, &path, reader);
    }
    for (position, marathon) in raw.marathon.iter().enumerate() {
        marathon_credentials(marathon, &format!("sources.marathon[{position}]"), reader);
    }
    admin(raw, reader);
    addresses(raw, reader);
    forwarding(raw, reader);
    cross_origin(raw, reader);
    request_id(raw, reader);
    endpoint_tls(raw, reader);
    client_certificates(raw, reader);
    otlp(raw, reader, otlp::IS_BUILT);
    acme(raw, reader);
}

/// Spans that nothing here can send would be made for nobody.
fn otlp(raw: &Raw, reader: &mut Reader<'_>, is_built: bool) {
    if raw.config.proxy.trace.otlp.endpoint.is_some() && !is_built {
        let message = "this program was built without what sends spans (the feature `otlp`)";
        let mend = "build it with `cargo build --release --features otlp`, or remove the setting";
        reader.fault_of("proxy.trace.otlp.endpoint", message, mend);
    }
}

/// Fetch Standard, "CORS protocol and credentials": with every origin named in the answer, every page could act in the
/// name of its visitors.
fn cross_origin(raw: &Raw, reader: &mut Reader<'_>) {
    for (position, filter) in raw.config.proxy.filters.iter().enumerate() {
        if filter.cors.credentials && filter.cors.origins.iter().any(|origin| **origin == *"*") {
            let path = format!("proxy.filters[{position}].cors.credentials");
            let message = "with the origin \"*\" every page would act in the name of its visitors";
            reader.fault_of(&path, message, "list the origins, or leave out `credentials`");
        }
    }
}

/// Fields that say something else would lose it.
fn request_id(raw: &Raw, reader: &mut Reader<'_>) {
    const OTHERS: [&str; 9] = [
        "authorization",
        "content-encoding",
        "content-type",
        "cookie",
        "location",
        "retry-after",
        "set-cookie",
        "traceparent",
        "tracestate",
    ];
    let is_taken =
        |name: &str| labels::is_protected_field(name) || OTHERS.iter().any(|other| other.eq_ignore_ascii_case(name));
    if raw.config.proxy.request_id.as_ref().is_some_and(|name| is_taken(name)) {
        let message = "the field has a meaning of its own, or is written by this proxy";
        reader.fault_of("proxy.request_id", message, "write a name such as \"X-Request-Id\"");
    }
}

/// Terms must be agreed to, each file belongs to one certificate, and a key comes with its name.
fn acme(raw: &Raw, reader: &mut Reader<'_>) {
    let mut folders: HashMap<&Path, String> = HashMap::new();
    for (position, entry) in raw.config.proxy.acme.iter().enumerate() {
        let path = format!("proxy.acme[{position}]");
        if !entry.terms_agreed && reader.has(&format!("{path}.terms_agreed")) {
            let mend = "read them (the directory's `termsOfService` says where they are), then set it to true";
            reader.fault_of(&format!("{path}.terms_agreed"), "without it the authority makes no account", mend);
        }
        if entry.max_retry < entry.retry {
            let mend = "choose a longer time than `retry`, or shorten that";
            reader.fault_of(&format!("{path}.max_retry"), "it is shorter than `retry`", mend);
        }
        // Each would order anew what the other one has ordered.
        let has_folder = !entry.folder.as_os_str().is_empty();
        if has_folder && let Some(other) = folders.insert(&entry.folder, path.clone()) {
            let message = format!("{other} has this folder too");
            reader.fault_of(&format!("{path}.folder"), message, "give each authority a folder of its own");
        }
        let firsts: Vec<_> = entry.certificates.iter().filter_map(|hosts| hosts.first()).collect();
        if let Some((_, twice)) = firsts.iter().enumerate().find(|(at, first)| firsts[..*at].contains(first)) {
            let message = format!("two certificates would be kept as {twice}.crt");
            let mend = "put the hosts into one list, or begin one of the lists with another host";
            reader.fault_of(&format!("{path}.certificates"), message, mend);
        }
        external_account(entry, &format!("{path}.external_account"), reader);
    }
}

fn external_account(entry: &AcmeConfig, path: &str, reader: &mut Reader<'_>) {
    match (&entry.external.key_id, &entry.external.hmac_key) {
        (Some(_), None) if !is_given(reader, path, "hmac_key") => {
            reader.fault_of(&format!("{path}.key_id"), "the key itself is missing", "add `hmac_key_file`");
        }
        (None, Some(_)) if !reader.has(&format!("{path}.key_id")) => {
            reader.fault_of(&format!("{path}.hmac_key"), "the key has no name", "add `key_id`");
        }
        (_, Some(key)) if entry.external.key().is_none() => {
            let message = format!("the key ({} characters) is not in base64url", key.0.len());
            reader.fault_of(&format!("{path}.hmac_key"), message, "copy it as the authority gave it");
        }
        _ => {}
    }
}

/// Certificates of clients come with TLS, and what is revoked of them with those who signed them.
fn client_certificates(raw: &Raw, reader: &mut Reader<'_>) {
    for (position, listener) in raw.listeners.iter().enumerate() {
        let path = format!("proxy.listeners[{position}]");
        let speaks_tls = reader.has(&format!("{path}.certificates")) || reader.has(&format!("{path}.pairs"));
        if listener.client_ca.is_some() && !speaks_tls {
            let mend = "add `certificates` or `pairs`, or remove it";
            reader.fault_of(&format!("{path}.client_ca"), "in clear text no client shows a certificate", mend);
        }
        if !listener.client_crl.is_empty() && !reader.has(&format!("{path}.client_ca")) {
            let mend = "add `client_ca`, or remove it";
            reader.fault_of(&format!("{path}.client_crl"), "clients are asked for no certificate", mend);
        }
    }
}

/// A certificate and its key come together, and a word that means the opposite is no name.
fn endpoint_tls(raw: &Raw, reader: &mut Reader<'_>) {
    for (position, entry) in raw.config.upstreams.tls.iter().enumerate() {
        let path = format!("upstreams.tls[{position}]");
        pair(&RawPair { certificate: entry.certificate.clone(), key: entry.key.clone() }, &path, reader);
        if *entry.name == *INSECURE {
            let message = "tasks say this word to have nothing verified";
            reader.fault_of(&format!("{path}.name"), message, "give the entry another name");
        }
    }
}

fn some_source(raw: &Raw, reader: &mut Reader<'_>) {
    let named = ["sources.mesos", "sources.marathon", "sources.file"].iter().any(|path| reader.has(path));
    if raw.mesos.is_empty() && raw.marathon.is_empty() && raw.files.is_empty() && !named {
        let mend = "add a [[sources.mesos]] with `name`, `zone` and `masters`, or a [[sources.file]]";
        reader.fault_of("sources", "there is no source: nothing could be served", mend);
    }
}

fn names(raw: &Raw, reader: &mut Reader<'_>) {
    let mesos = raw.mesos.iter().enumerate().map(|(at, mesos)| (format!("sources.mesos[{at}].name"), &mesos.name));
    let files = raw.files.iter().enumerate().map(|(at, file)| (format!("sources.file[{at}].name"), &file.name));
    let listeners =
        raw.listeners.iter().enumerate().map(|(at, listener)| (format!("proxy.listeners[{at}].name"), &listener.name));
    let marathon = raw.marathon.iter().enumerate().map(|(at, m)| (format!("sources.marathon[{at}].name"), &m.name));
    unique(mesos.chain(marathon).chain(files), "source", reader);
    unique(listeners, "listener", reader);
    let filters = raw.config.proxy.filters.iter().enumerate();
    unique(filters.map(|(at, filter)| (format!("proxy.filters[{at}].name"), &filter.name)), "filter", reader);
    let acme = raw.config.proxy.acme.iter().enumerate();
    unique(acme.map(|(at, entry)| (format!("proxy.acme[{at}].name"), &entry.name)), "authority", reader);
    let tls = raw.config.upstreams.tls.iter().enumerate();
    unique(tls.map(|(at, entry)| (format!("upstreams.tls[{at}].name"), &entry.name)), "entry", reader);
}

fn unique<'a>(names: impl Iterator<Item = (String, &'a Arc<str>)>, what: &str, reader: &mut Reader<'_>) {
    let mut seen: HashMap<&str, String> = HashMap::new();
    for (path, name) in names.filter(|(_, name)| !name.is_empty()) {
        match seen.get(&**name) {
            Some(other) => reader.fault_of(
                &path,
                format!("{other} has the name {name:?} too"),
                format!("give each {what} a name of its own"),
            ),
            None => {
                seen.insert(name, path);
            }
        }
    }
}

/// A file's name is its cluster: a Mesos cluster of that name would mix with it.
fn clusters(raw: &Raw, reader: &mut Reader<'_>) {
    for (position, marathon) in raw.marathon.iter().enumerate() {
        let cluster = marathon.cluster.as_ref().unwrap_or(&marathon.name);
        if raw.files.iter().any(|file| file.name == *cluster) {
            let path = format!("sources.marathon[{position}].cluster");
            reader.fault_of(&path, format!("{cluster:?} is the cluster of a file"), "give one of them another name");
        }
    }
    for (position, mesos) in raw.mesos.iter().enumerate() {
        let Some(cluster) = &mesos.cluster else { continue };
        if raw.files.iter().any(|file| file.name == *cluster) {
            let path = format!("sources.mesos[{position}].cluster");
            reader.fault_of(
                &path,
                format!("{cluster:?} is the cluster of a file"),
                "give the cluster or the file another name",
            );
        }
    }
}

fn zones(raw: &Raw, reader: &mut Reader<'_>) {
    let mesos =
        raw.mesos.iter().enumerate().map(|(at, mesos)| (format!("sources.mesos[{at}].zone"), &mesos.config.zone));
    let files = raw.files.iter().enumerate();
    let files =
        files.flat_map(|(at, file)| file.zones.iter().map(move |zone| (format!("sources.file[{at}].zones"), zone)));
    let own = own_zones(raw);
    let own = own.iter().map(|(path, zone)| (path.clone(), zone));
    let mut seen: Vec<(String, &Arc<str>)> = Vec::new();
    for (path, zone) in mesos.chain(files).chain(own).filter(|(_, zone)| !zone.is_empty()) {
        // A file may have names beside those that are made of a cluster.
        let is_beside = |other: &str, other_zone: &str| other_zone == &**zone && is_files(&path) != is_files(other);
        let clash = seen.iter().find(|(other, other_zone)| {
            (is_within(zone, other_zone) || is_within(other_zone, zone)) && !is_beside(other, other_zone)
        });
        if let Some((other, other_zone)) = clash {
            let message = if zone == *other_zone {
                format!("{other} is {zone:?} too")
            } else {
                format!("{zone:?} and {other_zone:?} of {other} lie within one another")
            };
            reader.fault_of(&path, message, "give each source zones of its own, side by side");
        }
        seen.push((path, zone));
    }
}

fn is_files(path: &str) -> bool {
    path.starts_with("sources.file")
}

/// The zones of DC/OS show a Mesos source.
fn dcos(raw: &Raw, reader: &mut Reader<'_>) {
    let Some(source) = &raw.config.dns.dcos.source else { return };
    if raw.mesos.iter().all(|mesos| mesos.name != *source) {
        let message = format!("there is no [[sources.mesos]] called {source:?}");
        reader.fault_of("dns.dcos.source", message, "write the `name` of the source whose cluster the zones show");
    }
}

/// The zones that the program makes by itself, each with the setting that asks for it.
fn own_zones(raw: &Raw) -> Vec<(String, Arc<str>)> {
    let reverse = raw.config.dns.reverse.iter().flat_map(|network| zones_of(*network));
    let reverse = reverse.map(|zone| ("dns.reverse".to_owned(), Arc::from(zone)));
    let dcos = &raw.config.dns.dcos;
    let zones = dcos.source.iter().flat_map(|_| crate::model::dcos::zones(dcos.cluster_key.as_deref()));
    let zones = zones.map(|(zone, _)| ("dns.dcos.source".to_owned(), Arc::from(zone)));
    reverse.chain(zones).collect()
}

fn is_within(zone: &str, other: &str) -> bool {
    zone.strip_suffix(other).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn credentials(mesos: &RawMesos, path: &str, reader: &mut Reader<'_>) {
    let has_other = mesos.token.is_some() || mesos.principal.is_some() || mesos.secret.is_some();
    if mesos.service_account.is_some() && has_other {
        let message = "a service account and other credentials are both given";
        reader.fault_of(&format!("{path}.service_account"), message, "leave one of them");
        return;
    }
    if mesos.token.is_some() && (mesos.principal.is_some() || mesos.secret.is_some()) {
        let message = "a token and a principal with its secret are both given";
        reader.fault_of(&format!("{path}.token"), message, "remove one of the two");
    } else if mesos.principal.is_some() && mesos.secret.is_none() && !is_given(reader, path, "secret") {
        let mend = "add `secret_file`, or remove the principal";
        reader.fault_of(&format!("{path}.principal"), "the principal has no secret", mend);
    } else if mesos.secret.is_some() && mesos.principal.is_none() && !reader.has(&format!("{path}.principal")) {
        let mend = "add `principal`, or remove the secret";
        reader.fault_of(&format!("{path}.secret"), "the secret has no principal", mend);
    }
}

fn marathon_credentials(marathon: &RawMarathon, path: &str, reader: &mut Reader<'_>) {
    pair(&marathon.tls, &format!("{path}.tls"), reader);
    let given = [marathon.credentials.is_some(), marathon.token.is_some(), marathon.service_account.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        let message = "credentials, a token and a service account exclude one another";
        reader.fault_of(path, message, "leave one of them");
    }
    let halves = marathon.credentials.as_ref().map(|pair| pair.0.split_once(':'));
    if halves.is_some_and(|halves| halves.is_none_or(|(user, password)| user.is_empty() || password.is_empty())) {
        let mend = "write the user, a colon and the password";
        reader.fault_of(&format!("{path}.credentials"), "the credentials are not user:password", mend);
    }
}

fn zookeeper(mesos: &RawMesos, path: &str, reader: &mut Reader<'_>) {
    let path = format!("{path}.zookeeper_auth");
    let (Some(auth), Some(masters)) = (&mesos.zookeeper_auth, &mesos.masters) else { return };
    match &masters.masters {
        Masters::List(_) => {
            reader.fault_of(
                &path,
                "the masters are not found through ZooKeeper",
                "remove it, or give `masters` a zk:// URL",
            );
        }
        Masters::ZooKeeper { auth: Some(_), .. } => {
            reader.fault_of(&path, "the zk:// URL has credentials too", "remove those in the URL");
        }
        Masters::ZooKeeper { auth: None, .. } => {
            if auth.0.split_once(':').is_none_or(|(user, password)| user.is_empty() || password.is_empty()) {
                reader.fault_of(
                    &path,
                    "the credentials are not user:password",
                    "write the user, a colon and the password",
                );
            }
        }
    }
}

fn mesos_tls(mesos: &RawMesos, path: &str, reader: &mut Reader<'_>) {
    pair(&mesos.tls, &format!("{path}.tls"), reader);
    if mesos.has_tls && mesos.masters.as_ref().is_some_and(|masters| masters.scheme == Some(Scheme::Http)) {
        let mend = "write https:// before the masters, or remove the section";
        reader.fault_of(&format!("{path}.tls"), "the masters are spoken to in clear text (http://)", mend);
    }
}

fn guard(mesos: &RawMesos, path: &str, reader: &mut Reader<'_>) {
    let guard = &mesos.config.guard;
    if guard.give_up_after < guard.confirm_after {
        let message = "the hold would end by itself before a second look could confirm it";
        let mend = "choose a longer time than `confirm_after`, or shorten that";
        reader.fault_of(&format!("{path}.guard.give_up_after"), message, mend);
    }
}

/// A certificate and its key come together.
fn pair(pair: &RawPair, path: &str, reader: &mut Reader<'_>) {
    let (given, missing) = match (&pair.certificate, &pair.key) {
        (Some(_), None) => ("certificate", "key"),
        (None, Some(_)) => ("key", "certificate"),
        _ => return,
    };
    // A key that was given and is wrong has been told already.
    if !reader.has(&format!("{path}.{missing}")) {
        let message = format!("the {given} has no {missing}");
        reader.fault_of(&format!("{path}.{given}"), message, format!("add `{missing}`"));
    }
}

fn admin(raw: &Raw, reader: &mut Reader<'_>) {
    pair(&raw.admin_tls, "admin", reader);
    let admin = &raw.config.admin;
    let Some(listen) = admin.listen.filter(|listen| !listen.ip().is_loopback()) else { return };
    let missing = match (reader.has("admin.certificate"), admin.token.is_some() || is_given(reader, "admin", "token")) {
        (true, true) => return,
        (true, false) => "`token_file`",
        (false, true) => "`certificate` and `key`",
        (false, false) => "`certificate`, `key` and `token_file`",
    };
    let message = format!("{listen} can be reached from other machines without TLS and a token");
    reader.fault_of("admin.listen", message, format!("add {missing}, or listen on 127.0.0.1"));
}

/// Whether the file has a secret or its twin; what is wrong with it has been told already.
fn is_given(reader: &Reader<'_>, section: &str, key: &str) -> bool {
    reader.has(&format!("{section}.{key}")) || reader.has(&format!("{section}.{key}_file"))
}

fn addresses(raw: &Raw, reader: &mut Reader<'_>) {
    let mut seen: Vec<(String, SocketAddr)> = Vec::new();
    for (path, address) in listened(raw) {
        let clash = seen.iter().find(|(_, other)| overlap(*other, address));
        if let Some((other_path, other)) = clash {
            let message = if *other == address {
                format!("{other_path} listens on {address} too")
            } else {
                format!("{address} and {other} of {other_path} overlap")
            };
            reader.fault_of(&path, message, "choose another port");
        }
        seen.push((path, address));
    }
}

/// Zones that are forwarded, and servers that would be ourselves.
fn forwarding(raw: &Raw, reader: &mut Reader<'_>) {
    let forward = &raw.config.dns.forward;
    let mesos = raw.mesos.iter().map(|mesos| &mesos.config.zone);
    let (files, made) = (raw.files.iter().flat_map(|file| &file.zones), own_zones(raw));
    let made = made.iter().map(|(_, zone)| zone);
    let own: Vec<_> = mesos.chain(files).chain(made).filter(|zone| !zone.is_empty()).collect();
    for (at, entry) in forward.zones.iter().enumerate().filter(|(_, entry)| !entry.zone.is_empty()) {
        let path = format!("dns.forward.zone[{at}]");
        if let Some(source) = own.iter().find(|source| is_within(&entry.zone, source)) {
            let message = format!("{:?} lies in the zone {source:?} that is answered here", entry.zone);
            reader.fault_of(&format!("{path}.zone"), message, "remove it, or give what has that zone another one");
        }
        if forward.zones[..at].iter().any(|other| other.zone == entry.zone) {
            let message = format!("{:?} is forwarded by another entry too", entry.zone);
            reader.fault_of(&format!("{path}.zone"), message, "put the servers into one entry");
        }
        no_loop(raw, &entry.upstreams, &format!("{path}.upstreams"), reader);
    }
    no_loop(raw, &forward.upstreams, "dns.forward.upstreams", reader);
    encrypted_dns(raw, reader);
    if forward.min_ttl_seconds > forward.max_ttl_seconds {
        let mend = "choose a shorter time than `max_ttl`";
        reader.fault_of("dns.forward.min_ttl", "it is longer than `max_ttl`", mend);
    }
}

/// DNS within TLS needs certificates.
fn encrypted_dns(raw: &Raw, reader: &mut Reader<'_>) {
    let tls = &raw.config.dns.tls;
    for (path, addresses) in [("dns.tls.listen", &tls.listen), ("dns.tls.https_listen", &tls.https_listen)] {
        if !addresses.is_empty() && tls.certificates.is_none() {
            reader.fault_of(path, "there are no certificates for it", "set `certificates` to a folder with one");
        }
    }
}

fn no_loop(raw: &Raw, upstreams: &[UpstreamServer], path: &str, reader: &mut Reader<'_>) {
    let ours = |server: &&UpstreamServer| {
        raw.config.dns.listen.iter().any(|listen| {
            let everywhere = listen.ip().is_unspecified() && server.address.ip().is_loopback();
            listen.port() == server.address.port() && (listen.ip() == server.address.ip() || everywhere)
        })
    };
    if let Some(server) = upstreams.iter().find(ours) {
        let message = format!("{server} is this server itself: queries would go round in circles");
        reader.fault_of(path, message, "name another server, or listen elsewhere");
    }
}

fn listened(raw: &Raw) -> impl Iterator<Item = (String, SocketAddr)> {
    let config = &raw.config;
    let dns = config.dns.listen.iter().map(|address| ("dns.listen".to_owned(), *address));
    let listeners = raw.listeners.iter().enumerate();
    let proxy =
        listeners.filter_map(|(at, listener)| Some((format!("proxy.listeners[{at}].address"), listener.address?)));
    let admin = config.admin.listen.map(|address| ("admin.listen".to_owned(), address));
    let mesos_dns = config.admin.mesos_dns_listen.map(|address| ("admin.mesos_dns_listen".to_owned(), address));
    let metrics = config.admin.metrics_listen.map(|address| ("admin.metrics_listen".to_owned(), address));
    let tls = config.dns.tls.listen.iter().map(|address| ("dns.tls.listen".to_owned(), *address));
    let https = config.dns.tls.https_listen.iter().map(|address| ("dns.tls.https_listen".to_owned(), *address));
    dns.chain(tls).chain(https).chain(proxy).chain(admin).chain(metrics).chain(mesos_dns)
}

/// Whether two sockets could not be told apart. Port 0 is another one each time; the families have a socket each.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Environment;

    /// With and without the feature, whichever this was built with.
    #[test]
    fn an_endpoint_for_spans_needs_what_sends_them() {
        let faults = |endpoint: Option<Arc<str>>, is_built| {
            let mut raw = Raw::default();
            raw.config.proxy.trace.otlp.endpoint = endpoint;
            let mut reader = Reader::new(Path::new(""), Environment::empty());
            otlp(&raw, &mut reader, is_built);
            reader.into_faults().into_iter().map(|placed| placed.key).collect::<Vec<_>>()
        };
        let endpoint = Some("http://127.0.0.1:4318".into());
        assert_eq!(faults(endpoint.clone(), false), ["proxy.trace.otlp.endpoint"]);
        assert!(faults(endpoint, true).is_empty() && faults(None, false).is_empty());
    }
}
