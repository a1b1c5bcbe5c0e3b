//! `pointsman migrate`: prints the configuration that does what another program's does.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::{Output, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// marathon-lb: its flags follow `--`, as its container has them (`sse --group external …`)
    MarathonLb {
        /// Its mode and flags
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<String>,
    },
    /// Mesos-DNS: its config.json
    MesosDns {
        /// The file
        file: PathBuf,
    },
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    match &arguments.from {
        From::MarathonLb { flags } => {
            let flags = Flags::read(flags).map_err(Failure::Usage)?;
            write!(output.out, "{}", flags.configuration())?;
        }
        From::MesosDns { file } => mesos_dns(file, output)?,
    }
    Ok(Verdict::Positive)
}

fn mesos_dns(file: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    let migration = crate::mesos_dns::load(file).map_err(|errors| Failure::Usage(errors.to_string()))?.migration;
    if output.json {
        let warnings: Vec<_> = migration
            .warnings
            .iter()
            .map(|warning| serde_json::json!({ "option": warning.option, "reason": warning.reason }))
            .collect();
        let document = serde_json::json!({ "configuration": migration.text, "warnings": warnings });
        writeln!(output.out, "{document:#}")?;
        return Ok(());
    }
    write!(output.out, "{}", migration.text)?;
    for warning in &migration.warnings {
        // Standard output is the file; whoever redirects it still sees these.
        let _ = writeln!(io::stderr(), "pointsman: {}: {}", warning.option, warning.reason);
    }
    Ok(())
}

/// marathon-lb's flags, as far as they mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    marathons: Vec<String>,
    groups: Vec<String>,
    strict_mode: bool,
    health_check: bool,
    no_http_https: bool,
    certificates: Option<String>,
    ca: Option<String>,
    credentials: Option<String>,
    credentials_file: Option<String>,
    service_account: Option<Account>,
    max_backoff: Option<u64>,
    least_assigned: Option<u16>,
    most_assigned: Option<u16>,
    notes: Vec<String>,
}

/// A service account of DC/OS, as its flag has it.
#[derive(Debug, PartialEq, Eq)]
enum Account {
    /// The account itself, with its key: it is kept nowhere.
    Inline,
    /// Where it lies.
    File(String),
}

/// Where marathon-lb seeks Marathon without a word about it.
const DEFAULT_MARATHON: &str = "http://master.mesos:8080";
/// Where certificates are sought without a word about them.
const DEFAULT_CERTIFICATES: &str = "/etc/pointsman/certificates";
/// Which service ports it assigns without a word about them.
const DEFAULT_ASSIGNED: (u16, u16) = (10_050, 10_100);
/// Where a service account may be put.
const ACCOUNT_FILE: &str = "/etc/pointsman/account.json";

/// Flags with a value that are about HAProxy's process and file, of which there are none here.
const OF_HAPROXY: [&str; 16] = [
    "--haproxy-config",
    "-c",
    "--reload-command",
    "-r",
    "--command",
    "--listening",
    "-l",
    "--callback-url",
    "-u",
    "--lru-cache-capacity",
    "--max-reload-retries",
    "--reload-interval",
    "--archive-versions",
    "--syslog-socket",
    "--log-format",
    "--log-level",
];

impl Flags {
    fn read(words: &[String]) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut words = words.iter().map(String::as_str).peekable();
        if words.next_if(|word| matches!(*word, "sse" | "poll" | "event")) == Some("event") {
            flags.note("event", "callbacks are not used: Marathon's stream of events is followed");
        }
        while let Some(word) = words.next() {
            let (name, mut inline) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (word, None),
            };
            let mut value = || inline.take().or_else(|| words.next()).ok_or_else(|| format!("{name} has no value"));
            match name {
                "--marathon" | "-m" => {
                    flags.marathons.push(value()?.to_owned());
                    // Several may follow one flag.
                    while let Some(more) = words.next_if(|word| !word.starts_with('-')) {
                        flags.marathons.push(more.to_owned());
                    }
                }
                "--group" => flags.groups.push(value()?.to_owned()),
                "--strict-mode" => flags.strict_mode = true,
                "--health-check" | "-H" => flags.health_check = true,
                "--dont-bind-http-https" => flags.no_http_https = true,
                "--ssl-certs" => flags.certificates = Some(value()?.to_owned()),
                "--marathon-ca-cert" => flags.ca = Some(value()?.to_owned()),
                "--auth-credentials" => flags.credentials = Some(value()?.to_owned()),
                "--marathon-auth-credential-file" => flags.credentials_file = Some(value()?.to_owned()),
                "--dcos-auth-credentials" => flags.service_account = Some(account(value()?)),
                "--max-backoff" => flags.max_backoff = Some(number(name, value()?, "number of seconds")?),
                "--min-serv-port-ip-per-task" => flags.least_assigned = Some(number(name, value()?, "port")?),
                "--max-serv-port-ip-per-task" => flags.most_assigned = Some(number(name, value()?, "port")?),
                "--sse" | "-s" => {}
                "--longhelp" => flags.note(name, "it prints the labels: `README.md` has ours, under \"Labels\""),
                "--haproxy-map" => flags.note(name, "routes are always looked up in a map"),
                "--group-https-by-vhost" => {
                    flags.note(name, "each host has its own certificate already, by SNI, and that of its app's label");
                }
                "--skip-validation" | "--skip-config-cleanup" | "--dry" | "-d" => {
                    flags.note(name, "there is no file of HAProxy's");
                }
                name if OF_HAPROXY.contains(&name) => {
                    value()?;
                    flags.note(name, "it has no counterpart: there is no process and no file of HAProxy's");
                }
                _ => return Err(format!("marathon-lb has no flag {name:?}; its flags follow `--`")),
            }
        }
        flags.assigned()?;
        if flags.marathons.is_empty() {
            flags.note("--marathon", "not given, and this is where marathon-lb seeks it then");
            flags.marathons.push(DEFAULT_MARATHON.to_owned());
        }
        if let Some(Account::Inline) = flags.service_account {
            let why = format!(
                "its value is an account with its key, which is not repeated here: write it to {ACCOUNT_FILE}, readable by \
                 this program alone; `service_account` names that file"
            );
            flags.note("--dcos-auth-credentials", &why);
        }
        if flags.certificate_paths().count() > 1 {
            let why =
                format!("several paths, and one folder is read: put all pairs into {}", flags.certificate_folder());
            flags.note("--ssl-certs", &why);
        }
        Ok(flags)
    }

    /// The service ports that it assigns; none where either end is 0.
    fn assigned(&self) -> Result<Option<(u16, u16)>, String> {
        let least = self.least_assigned.unwrap_or(DEFAULT_ASSIGNED.0);
        let most = self.most_assigned.unwrap_or(DEFAULT_ASSIGNED.1);
        match (least, most) {
            (0, 0) => Ok(None),
            (0, _) | (_, 0) => Err("--min- and --max-serv-port-ip-per-task are both 0, or neither".into()),
            _ if least > most => {
                Err(format!("--min-serv-port-ip-per-task {least} is above --max-serv-port-ip-per-task {most}"))
            }
            range => Ok(Some(range)),
        }
    }

    fn note(&mut self, flag: &str, why: &str) {
        self.notes.push(format!("{flag}: {why}"));
    }

    /// The certificates that are named, one path each.
    fn certificate_paths(&self) -> impl Iterator<Item = &str> {
        let paths = self.certificates.iter().flat_map(|paths| paths.split(','));
        paths.map(str::trim).filter(|path| !path.is_empty())
    }

    /// The folder of the first certificate: a file is named by its folder here.
    fn certificate_folder(&self) -> &str {
        let Some(path) = self.certificate_paths().next() else { return DEFAULT_CERTIFICATES };
        match path.rsplit_once('/') {
            Some((folder, file)) if file.contains('.') && !folder.is_empty() => folder,
            _ => path,
        }
    }

    fn configuration(&self) -> String {
        let mut out = String::from("# What marathon-lb's flags come to. Check it with `pointsman check FILE`.\n");
        for note in &self.notes {
            line(&mut out, format_args!("# {note}."));
        }
        self.sources(&mut out);
        self.proxy(&mut out);
        out
    }

    fn sources(&self, out: &mut String) {
        let list = |items: &[String]| items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
        line(out, format_args!("\n[routing]"));
        if self.groups.is_empty() {
            line(out, format_args!("# No --group: marathon-lb serves nothing then. \"*\" serves all apps."));
        }
        let none = ["none".to_owned()];
        let groups = if self.groups.is_empty() { &none[..] } else { &self.groups };
        line(out, format_args!("groups = [{}]", list(groups)));
        line(out, format_args!("strict_mode = {}", self.strict_mode));
        if self.health_check {
            line(
                out,
                format_args!(
                    "# With --health-check nothing is sent to tasks whose checks fail, and be it all of them."
                ),
            );
            line(out, format_args!("panic = false"));
        }
        line(out, format_args!("\n[[sources.marathon]]\nname = \"marathon\"\nurls = [{}]", list(&self.marathons)));
        line(out, format_args!("# --health-check: tasks whose checks fail get nothing."));
        line(out, format_args!("use_health = {}", self.health_check));
        line(
            out,
            format_args!(
                "# HAProxy makes the checks of Marathon's apps itself, with any flags: so does this program then."
            ),
        );
        line(out, format_args!("active_checks = true"));
        if let Some(seconds) = self.max_backoff {
            line(out, format_args!("max_backoff = \"{}s\"", seconds.clamp(1, 3600)));
        }
        if let Some(credentials) = &self.credentials {
            line(out, format_args!("credentials = {}", quoted(credentials)));
        } else if let Some(file) = &self.credentials_file {
            line(out, format_args!("credentials_file = {}", quoted(file)));
        } else if let Some(account) = &self.service_account {
            let file = match account {
                Account::Inline => ACCOUNT_FILE,
                Account::File(file) => file,
            };
            line(out, format_args!("service_account = {}", quoted(file)));
        }
        if let Some(ca) = &self.ca {
            line(out, format_args!("tls.ca = {}", quoted(ca)));
        }
        line(out, format_args!("\n# Containers with addresses of their own are reached only in these networks."));
        line(out, format_args!("[upstreams]\nallowed_networks = [\"9.0.0.0/8\"]"));
    }

    fn proxy(&self, out: &mut String) {
        line(out, format_args!("\n# Every app's service port has a listener."));
        line(out, format_args!("[proxy.service_ports]\naddresses = [\"0.0.0.0\"]\nallowed = [\"1-65535\"]"));
        if let Ok(Some((least, most))) = self.assigned() {
            line(out, format_args!("# --min- and --max-serv-port-ip-per-task: for apps that have no service port."));
            line(out, format_args!("assigned = \"{least}-{most}\""));
        }
        line(out, format_args!("# HAPROXY_{{n}}_SSL_CERT names a certificate in this folder, by its file's name."));
        let is_given = if self.certificates.is_some() { "" } else { "# " };
        line(out, format_args!("{is_given}certificates = {}", quoted(self.certificate_folder())));
        line(out, format_args!("\n# marathon-lb's default; an app's HAPROXY_{{n}}_BALANCE goes before it."));
        line(out, format_args!("[proxy.balance]\nalgorithm = \"round_robin\""));
        if !self.no_http_https {
            line(out, format_args!("\n[[proxy.listeners]]\nname = \"http\"\naddress = \"0.0.0.0:80\""));
            line(
                out,
                format_args!(
                    "\n# NAME.crt or NAME.pem each with NAME.key; a bundle's key goes into a file of its own."
                ),
            );
            line(out, format_args!("[[proxy.listeners]]\nname = \"https\"\naddress = \"0.0.0.0:443\""));
            line(out, format_args!("certificates = {}", quoted(self.certificate_folder())));
        }
        line(
            out,
            format_args!("\n# By X-Marathon-App-Id. marathon-lb has it on every address; here it is for this machine."),
        );
        line(
            out,
            format_args!("[[proxy.listeners]]\nname = \"apps\"\naddress = \"127.0.0.1:9091\"\nroute_by = \"app-id\""),
        );
        line(out, format_args!("\n# Health, metrics and the API in place of marathon-lb's statistics."));
        line(out, format_args!("[admin]\nlisten = \"127.0.0.1:9090\""));
    }
}

/// A flag's value as a number.
fn number<T: std::str::FromStr>(flag: &str, text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text:?} is no {what}"))
}

/// The account itself where the value is a document, as marathon-lb wants it; else where it lies.
fn account(value: &str) -> Account {
    if value.trim_start().starts_with('{') { Account::Inline } else { Account::File(value.to_owned()) }
}

/// A string of TOML: the escapes of JSON are a subset of its own.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Flags, String> {
        Flags::read(&text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_printed_is_a_valid_configuration() {
        for flags in [
            "sse --marathon http://m1:8080 --group external --health-check",
            "poll -m http://m1:8080 http://m2:8080 --group=a --group b --strict-mode --haproxy-map --max-backoff 60",
            "sse -m https://m.test --dont-bind-http-https --auth-credentials=user:p\"a\\ss --marathon-ca-cert /etc/ca.pem",
            "-m http://m1 --group * --ssl-certs /etc/ssl/a.pem,/etc/ssl/b.pem --group-https-by-vhost --log-level info",
            "sse --group a --min-serv-port-ip-per-task 10000 --max-serv-port-ip-per-task=10200",
            "sse --group a --min-serv-port-ip-per-task 0 --max-serv-port-ip-per-task 0",
            "event -m http://m1 -l http://x -u http://x --dcos-auth-credentials /etc/account.json",
            "sse --group external --longhelp --dont-bind-http-https --ssl-certs /etc/ssl/a.pem",
            "sse --group * --dcos-auth-credentials {\"uid\":\"lb\",\"private_key\":\"hunter2\"}",
        ] {
            let text = read(flags).unwrap().configuration();
            let path = Path::new("/etc/pointsman/pointsman.toml");
            let config = crate::config::check(&text, path, crate::config::Environment::empty());
            let config = config.unwrap_or_else(|errors| panic!("{flags}\n{text}\n{errors}"));
            assert_eq!(config.marathon.len(), 1);
            assert_eq!(config.proxy.listeners.len(), if flags.contains("dont-bind") { 1 } else { 3 });
        }
    }

    #[test]
    fn flags_mean_what_they_mean() {
        let flags =
            read("sse -m http://m1:8080 http://m2:8080 --group external --strict-mode --ssl-certs /etc/x").unwrap();
        assert_eq!(flags.marathons, ["http://m1:8080", "http://m2:8080"]);
        let config = configured(&flags);
        assert_eq!(config.routing.groups, ["external"]);
        assert!(config.routing.strict_mode && config.routing.panic && !config.marathon[0].use_health);
        assert_eq!(config.marathon[0].urls.len(), 2);
        assert_eq!(config.proxy.service_ports.certificates.as_deref(), Some(Path::new("/etc/x")));
        assert_eq!(config.proxy.balance.algorithm, crate::model::balance::Algorithm::RoundRobin);
        let all = configured(&read("sse --group * --health-check").unwrap());
        assert_eq!((all.routing.groups, all.routing.panic), (vec!["*".to_owned()], false));
        assert!(all.marathon[0].use_health && all.proxy.service_ports.certificates.is_none());
        // Without listeners for hosts the certificates of service ports count all the same, and of several the first's folder.
        let flags = read("sse --dont-bind-http-https --ssl-certs /etc/a/x.pem,/etc/b/y.pem").unwrap();
        assert_eq!(configured(&flags).proxy.service_ports.certificates.as_deref(), Some(Path::new("/etc/a")));
        assert!(flags.notes.iter().any(|note| note.contains("put all pairs into /etc/a")), "{:?}", flags.notes);
    }

    #[test]
    fn the_checks_that_haproxy_makes_are_made() {
        for flags in ["sse --group a", "sse --group a --health-check"] {
            assert!(configured(&read(flags).unwrap()).marathon[0].active_checks, "{flags}");
        }
    }

    #[test]
    fn the_same_service_ports_are_assigned() {
        let assigned = |flags: &str| {
            read(flags)
                .map(|flags| configured(&flags).proxy.service_ports.assigned.map(|range| (range.begin, range.end)))
        };
        assert_eq!(assigned("sse --group a"), Ok(Some((10_050, 10_100))));
        let (least, most) = ("--min-serv-port-ip-per-task", "--max-serv-port-ip-per-task");
        assert_eq!(assigned(&format!("sse {least} 10000 {most} 10999")), Ok(Some((10_000, 10_999))));
        assert_eq!(assigned(&format!("sse {most} 10060")), Ok(Some((10_050, 10_060))));
        assert_eq!(assigned(&format!("sse {least} 0 {most} 0")), Ok(None));
        for wrong in [format!("{least} 0"), format!("{least} 11000"), format!("{least} x"), format!("{most} 70000")] {
            assert!(read(&format!("sse {wrong}")).unwrap_err().contains("serv-port-ip-per-task"), "{wrong}");
        }
    }

    fn configured(flags: &Flags) -> crate::config::Config {
        let text = flags.configuration();
        let path = Path::new("/etc/pointsman/pointsman.toml");
        crate::config::check(&text, path, crate::config::Environment::empty())
            .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
    }

    #[test]
    fn marathon_is_sought_where_marathon_lb_seeks_it() {
        let flags = read("sse --group external --longhelp").unwrap();
        assert_eq!(flags.marathons, ["http://master.mesos:8080"]);
        assert_eq!(flags.notes.len(), 2, "{:?}", flags.notes);
    }

    #[test]
    fn an_account_on_the_command_line_is_not_repeated() {
        let words = ["sse", "--dcos-auth-credentials", "{\"uid\": \"lb\", \"private_key\": \"hunter2\"}"];
        let flags = Flags::read(&words.map(str::to_owned)).unwrap();
        let text = flags.configuration();
        assert!(!text.contains("hunter2") && !format!("{flags:?}").contains("hunter2"), "{text}");
        assert!(text.contains("service_account = \"/etc/pointsman/account.json\""), "{text}");
        assert!(text.contains("write it to /etc/pointsman/account.json"), "{text}");
        let file = read("sse --dcos-auth-credentials /etc/lb.json").unwrap().configuration();
        assert!(file.contains("service_account = \"/etc/lb.json\""), "{file}");
    }

    #[test]
    fn what_is_no_flag_is_told() {
        assert!(read("sse -m http://m --grup x").unwrap_err().contains("--grup"));
        assert!(read("sse -m").unwrap_err().contains("no value"));
    }
}
