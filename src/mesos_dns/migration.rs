//! Options of Mesos-DNS → our own configuration file, commented, with a warning for each option that is not obeyed to
//! the letter.
//!
//! Running with a Mesos-DNS file is nothing but this and reading the outcome: so both come to the same by construction.

use super::options::{Options, resolver};
use super::{Machine, resolv_conf};
use crate::config::checked::ForwardConfig;

/// A configuration file made from options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// TOML.
    pub text: String,
    /// What is not obeyed, or otherwise than Mesos-DNS does.
    pub warnings: Vec<Warning>,
    /// By line, the option that it comes from.
    origins: Vec<Option<&'static str>>,
}

/// Why an option is not obeyed, or not to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The option.
    pub option: String,
    /// Why.
    pub reason: String,
}

impl Migration {
    /// The file that does what `options` say on `machine`.
    pub fn new(options: &Options, machine: Machine<'_>) -> Self {
        let mut writer = Writer { options, machine, text: String::new(), origins: Vec::new(), warnings: Vec::new() };
        writer.dns();
        writer.forwarding();
        writer.api();
        writer.source();
        writer.guard();
        writer.ignored();
        writer.finish()
    }

    /// The option that a line of the text comes from; lines count from 1.
    pub fn origin(&self, line: usize) -> Option<&'static str> {
        self.origins.get(line.checked_sub(1)?).copied().flatten()
    }
}

struct Writer<'a> {
    options: &'a Options,
    machine: Machine<'a>,
    text: String,
    origins: Vec<Option<&'static str>>,
    warnings: Vec<Warning>,
}

impl Writer<'_> {
    // --- lines

    fn line(&mut self, text: &str, origin: Option<&'static str>) {
        self.text.push_str(text);
        self.text.push('\n');
        self.origins.push(origin);
    }

    fn section(&mut self, name: &str, about: &str) {
        self.line("", None);
        self.line(&format!("# {about}"), None);
        self.line(name, None);
    }

    /// A setting with the option that it comes from.
    fn set(&mut self, key: &str, literal: &str, option: &'static str) {
        self.line(&format!("{key} = {literal} # {option}"), Some(option));
    }

    /// A setting that Mesos-DNS has no option for, since it knows no other way.
    fn always(&mut self, key: &str, literal: &str, why: &str) {
        self.line(&format!("{key} = {literal} # {why}"), None);
    }

    fn warn(&mut self, option: &str, reason: impl Into<String>) {
        self.warnings.push(Warning { option: option.to_owned(), reason: reason.into() });
    }

    /// A warning for an option that the file gives.
    fn warn_if_given(&mut self, option: &str, reason: &str) {
        if self.options.has(option) {
            self.warn(option, reason);
        }
    }

    /// The same, where its value matters.
    fn warn_if_given_as(&mut self, matters: bool, option: &str, reason: &str) {
        if matters {
            self.warn_if_given(option, reason);
        }
    }

    /// A number of seconds, moved into the bounds of our own setting.
    fn seconds(&mut self, option: &'static str, value: i64, least: i64, most: i64) -> String {
        let bounded = value.clamp(least, most);
        if bounded != value {
            self.warn(option, format!("{value} seconds are out of bounds here; {bounded} are used"));
        }
        text(&format!("{bounded}s"))
    }

    // --- parts

    fn dns(&mut self) {
        let options = self.options;
        let domain = options.domain.to_ascii_lowercase();
        self.section("[server]", "Mesos-DNS forgets a name with its last task.");
        self.always("service_retention", "\"0s\"", "as Mesos-DNS");
        self.section("[dns]", "Names, who is named and times to live are Mesos-DNS's own.");
        if options.dns_on {
            let listen = join(&options.listener, options.port);
            self.set("listen", &format!("[{}]", text(&listen)), if options.has("port") { "port" } else { "listener" });
        }
        let ttl = self.seconds("ttl", options.ttl, 0, 86_400);
        self.set("ttl", &ttl, "ttl");
        self.set("negative_ttl", &ttl, "ttl");
        self.set("srv_weight", &options.srv_weight.to_string(), "SRVRecordDefaultWeight");
        self.set("ip_sources", &list(options.ip_sources.iter().map(String::as_str)), "IPSources");
        self.set("label_rule", if options.enforce_rfc952 { "\"rfc952\"" } else { "\"rfc1123\"" }, "EnforceRFC952");
        self.always("name_unhealthy", "\"always\"", "Mesos-DNS does not look at health");
        self.always("hold_names", "false", "a name without running tasks is NXDOMAIN");
        self.always("extra_names", "[]", "no names but those of Mesos-DNS");
        let year = 31_536_000;
        self.section("[dns.soa]", "What the zone's SOA and NS records say.");
        self.set("nameserver", &text(&below(&options.soa_mname, &domain)), "SOAMname");
        self.set("contact", &text(&below(&options.soa_rname.replace('@', "."), &domain)), "SOARname");
        let refresh = self.seconds("SOARefresh", options.soa_refresh, 1, year);
        self.set("refresh", &refresh, "SOARefresh");
        let retry = self.seconds("SOARetry", options.soa_retry, 1, year);
        self.set("retry", &retry, "SOARetry");
        let expire = self.seconds("SOAExpire", options.soa_expire, 1, year);
        self.set("expire", &expire, "SOAExpire");
    }

    fn forwarding(&mut self) {
        let options = self.options;
        if !options.external_on {
            self.warn_if_given_as(options.recurse_on, "recurseOn", "RA is not set where nothing is forwarded");
            return;
        }
        self.section("[dns.forward]", "externalOn: names outside the domain.");
        let servers =
            if options.resolvers.is_empty() { self.system() } else { self.once("resolvers", &options.resolvers) };
        self.set("upstreams", &list(servers.iter().map(String::as_str)), "resolvers");
        // Mesos-DNS takes none for its default.
        let timeout = self.seconds("timeout", if options.timeout == 0 { 5 } else { options.timeout }, 1, 30);
        self.set("timeout", &timeout, "timeout");
        self.set("recursion_available", &options.recurse_on.to_string(), "recurseOn");
        let most = options.zone_resolvers.iter().map(|(_, resolvers)| resolvers.len()).fold(servers.len(), usize::max);
        self.warn_if_given_as(
            most > 1,
            "timeout",
            "it is the time for all resolvers together, the next one being asked long before it is over; Mesos-DNS gives \
             each of them so long",
        );
        for (zone, resolvers) in &options.zone_resolvers {
            let servers = self.once("zoneResolvers", resolvers);
            self.line("[[dns.forward.zone]]", Some("zoneResolvers"));
            self.set("zone", &text(zone), "zoneResolvers");
            self.set("upstreams", &list(servers.iter().map(String::as_str)), "zoneResolvers");
        }
        let reason = "only clients in private networks are served (`dns.forward.allow`); Mesos-DNS is an open resolver";
        self.warn("externalOn", reason);
    }

    /// The system's resolvers, as they are now.
    fn system(&mut self) -> Vec<String> {
        let servers = resolv_conf::servers(self.machine.resolv_conf, self.machine.own);
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let (path, found) = (resolv_conf::PATH, servers.join(", "));
        let reason = if servers.is_empty() {
            format!("{path} names no server but this machine, so that other names are refused: name the resolvers here")
        } else {
            format!("the list is empty, so those of {path} are asked as it is now: {found}")
        };
        self.warn("resolvers", reason);
        self.first("resolvers", servers)
    }

    /// Resolvers without those that stand in the list twice.
    fn once(&mut self, option: &'static str, resolvers: &[String]) -> Vec<String> {
        let mut known = Vec::new();
        let (first, again): (Vec<&String>, Vec<&String>) = resolvers.iter().partition(|text| {
            let address = resolver(text);
            let is_new = !known.contains(&address);
            known.push(address);
            is_new
        });
        for text in again {
            self.warn(option, format!("{text:?} stands in the list twice, and is asked once"));
        }
        let first = first.into_iter().cloned().collect();
        self.first(option, first)
    }

    /// As many of these as may be asked here.
    fn first(&mut self, option: &'static str, mut resolvers: Vec<String>) -> Vec<String> {
        let most = ForwardConfig::MAX_UPSTREAMS;
        if let Some(left_out) = resolvers.get(most) {
            let count = resolvers.len();
            let reason = format!("{most} of {count} resolvers are asked: {left_out:?} and those after it are not");
            self.warn(option, reason);
            resolvers.truncate(most);
        }
        resolvers
    }

    fn api(&mut self) {
        let options = self.options;
        self.section("[admin]", "Mesos-DNS's HTTP API.");
        if options.http_on {
            let listen = join(&options.http_listener, options.http_port);
            let option = if options.has("httpPort") { "httpPort" } else { "HTTPListener" };
            self.set("mesos_dns_listen", &text(&listen), option);
        }
        self.set("mesos_dns_enumeration", &options.enumeration_on.to_string(), "EnumerationOn");
    }

    fn source(&mut self) {
        let options = self.options;
        self.section("[[sources.mesos]]", "The cluster.");
        self.always("name", "\"mesos\"", "its name in logs and metrics");
        self.set("zone", &text(&options.domain.to_ascii_lowercase()), "domain");
        if options.zk.is_empty() {
            self.set("masters", &list(options.masters.iter().map(String::as_str)), "masters");
        } else {
            self.set("masters", &text(&options.zk), "zk");
            self.warn_if_given("masters", "ZooKeeper says who the masters are, so the list is not needed");
        }
        self.always("mode", "\"state\"", "Mesos-DNS reads /master/state");
        let interval = self.seconds("refreshSeconds", options.refresh_seconds, 1, 86_400);
        self.set("poll_interval", &interval, "refreshSeconds");
        let timeout = self.seconds("stateTimeoutSeconds", options.state_timeout_seconds, 1, 3600);
        self.set("poll_timeout", &timeout, "stateTimeoutSeconds");
        match options.mesos_authentication.as_str() {
            "basic" => {
                self.set("principal", &text(&options.principal), "MesosCredentials");
                self.set("secret", &text(&options.secret), "MesosCredentials");
                self.warn_of_leaders("MesosCredentials");
            }
            "iam" => {
                let file = self.machine.folder.join(&options.iam_config_file);
                self.set("service_account", &text(&file.to_string_lossy()), "IAMConfigFile");
                self.warn_of_leaders("IAMConfigFile");
            }
            _ => {
                let reason = "`MesosAuthentication` is empty, so Mesos-DNS does not use it";
                self.warn_if_given("MesosCredentials", reason);
                self.warn_if_given("IAMConfigFile", reason);
            }
        }
        if options.mesos_https_on {
            self.tls();
        } else {
            for (option, file) in [
                ("CACertFile", &options.ca_cert_file),
                ("CertFile", &options.cert_file),
                ("KeyFile", &options.key_file),
            ] {
                if !file.is_empty() {
                    self.warn(option, "`MesosHTTPSOn` is false, so Mesos-DNS does not use it");
                }
            }
        }
    }

    /// Credentials go where the file says, and not where a master says that they should.
    fn warn_of_leaders(&mut self, option: &str) {
        if self.options.zk.is_empty() {
            self.warn(
                option,
                "masters that the list lacks get none; Mesos-DNS sends them to a leader that a listed master names as \
                 well, so list every master",
            );
        }
    }

    fn guard(&mut self) {
        self.section("[sources.mesos.guard]", "Mesos-DNS believes a state however many tasks it lacks.");
        self.always("max_share", "1.0", "nothing is held back for being many");
        // No longer than by default: polls that are further apart are the second look by themselves.
        let confirm_after = text(&format!("{}s", self.options.refresh_seconds.clamp(1, 60)));
        self.always("confirm_after", &confirm_after, "a state without any task is believed when the next one agrees");
    }

    fn tls(&mut self) {
        let options = self.options;
        self.section("[sources.mesos.tls]", "MesosHTTPSOn.");
        for (key, file, option) in [
            ("ca", &options.ca_cert_file, "CACertFile"),
            ("certificate", &options.cert_file, "CertFile"),
            ("key", &options.key_file, "KeyFile"),
        ] {
            if !file.is_empty() {
                self.set(key, &text(&self.machine.folder.join(file).to_string_lossy()), option);
            }
        }
        if options.ca_cert_file.is_empty() {
            self.warn(
                "MesosHTTPSOn",
                "without `CACertFile` Mesos-DNS believes any certificate; here the masters' are verified against the \
                 system's authorities",
            );
        }
    }

    fn ignored(&mut self) {
        let options = self.options;
        self.warn_if_given(
            "zkDetectionTimeout",
            "this program never ends because ZooKeeper is away; it goes on trying",
        );
        if options.has("SOAMinttl") && options.soa_minttl != options.ttl {
            self.warn("SOAMinttl", "Mesos-DNS never uses it: the minimum is `ttl`, as here");
        }
        self.warn_if_given("SOASerial", "Mesos-DNS overwrites it, and so is it here: it rises when the zone changes");
        self.warn_if_given("File", "Mesos-DNS overwrites it");
        if !options.set_truncate_bit {
            self.warn(
                "SetTruncateBit",
                "an answer that was cut always says so (RFC 2181 section 9): clients would take a part for the whole",
            );
        }
        for option in ["email", "ns"] {
            self.warn_if_given(option, "Mesos-DNS ignores it; `SOARname` and `SOAMname` took its place");
        }
        for (key, _) in &options.unknown {
            self.warn(key, "Mesos-DNS knows no such option and ignores it");
        }
    }

    fn finish(self) -> Migration {
        let mut head = vec![
            "# Made by `pointsman migrate mesos-dns`: what a Mesos-DNS configuration means here. Behind each setting stands"
                .to_owned(),
            "# the option that it comes from; `pointsman config sample` explains all settings.".to_owned(),
        ];
        if !self.warnings.is_empty() {
            head.extend(["#".to_owned(), "# Not obeyed to the letter:".to_owned()]);
            let line = |warning: &Warning| format!("# - {}: {}.", one_line(&warning.option), warning.reason);
            head.extend(self.warnings.iter().map(line));
        }
        let origins = head.iter().map(|_| None).chain(self.origins).collect();
        Migration { text: head.join("\n") + "\n" + &self.text, warnings: self.warnings, origins }
    }
}

/// A string in TOML.
fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(text).collect::<Vec<_>>().join(", "))
}

/// A key that may be any text, in a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn join(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// A name as our settings have it: what lies below the domain without it, others with a final dot.
fn below(name: &str, domain: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.strip_suffix(domain).and_then(|labels| labels.strip_suffix('.')) {
        Some(labels) if !labels.is_empty() => labels.to_owned(),
        _ => format!("{name}."),
    }
}
