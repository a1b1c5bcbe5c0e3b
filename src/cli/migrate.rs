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
    service_account: Option<String>,
    max_backoff: Option<u64>,
    notes: Vec<String>,
}

/// Flags with a value that are about HAProxy's process and file, of which there are none here.
const OF_HAPROXY: [&str; 18] = [
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
    "--min-serv-port-ip-per-task",
    "--max-serv-port-ip-per-task",
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
                "--dcos-auth-credentials" => flags.service_account = Some(value()?.to_owned()),
                "--max-backoff" => {
                    let seconds = value()?;
                    flags.max_backoff = Some(
                        seconds.parse().map_err(|_| format!("--max-backoff {seconds:?} is no number of seconds"))?,
                    );
                }
                "--sse" | "-s" => {}
                "--haproxy-map" => flags.note(name, "routes are always looked up in a map"),
                "--group-https-by-vhost" => flags.note(name, "each host has its own certificate already, by SNI"),
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
        if flags.marathons.is_empty() {
            return Err("name at least one Marathon: -- sse --marathon http://marathon.mesos:8080".into());
        }
        Ok(flags)
    }

    fn note(&mut self, flag: &str, why: &str) {
        self.notes.push(format!("{flag}: {why}"));
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
            line(out, format_args!("# No --group: marathon-lb serves nothing then. \"*\" serves every group."));
        }
        let none = ["none".to_owned()];
        let groups = if self.groups.is_empty() { &none[..] } else { &self.groups };
        line(out, format_args!("groups = [{}]", list(groups)));
        line(out, format_args!("strict_mode = {}", self.strict_mode));
        line(out, format_args!("\n[[sources.marathon]]\nname = \"marathon\"\nurls = [{}]", list(&self.marathons)));
        line(out, format_args!("# --health-check: tasks whose checks fail get nothing."));
        line(out, format_args!("use_health = {}", self.health_check));
        if let Some(seconds) = self.max_backoff {
            line(out, format_args!("max_backoff = \"{}s\"", seconds.clamp(1, 3600)));
        }
        if let Some(credentials) = &self.credentials {
            line(out, format_args!("credentials = {}", quoted(credentials)));
        } else if let Some(file) = &self.credentials_file {
            line(out, format_args!("credentials_file = {}", quoted(file)));
        } else if let Some(file) = &self.service_account {
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
        if !self.no_http_https {
            line(out, format_args!("\n[[proxy.listeners]]\nname = \"http\"\naddress = \"0.0.0.0:80\""));
            let given = self.certificates.as_deref().and_then(|paths| paths.split(',').next());
            let folder = given.map_or("/etc/pointsman/certificates", |path| match path.rsplit_once('/') {
                Some((folder, file)) if file.contains('.') && !folder.is_empty() => folder,
                _ => path,
            });
            line(
                out,
                format_args!(
                    "\n# NAME.crt or NAME.pem each with NAME.key; a bundle's key goes into a file of its own."
                ),
            );
            line(out, format_args!("[[proxy.listeners]]\nname = \"https\"\naddress = \"0.0.0.0:443\""));
            line(out, format_args!("certificates = {}", quoted(folder)));
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
            "event -m http://m1 -l http://x -u http://x --dcos-auth-credentials /etc/account.json",
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
        let text = flags.configuration();
        for expected in [
            "groups = [\"external\"]",
            "strict_mode = true",
            "use_health = false",
            "urls = [\"http://m1:8080\", \"http://m2:8080\"]",
            "certificates = \"/etc/x\"",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_no_flag_is_told() {
        assert!(read("sse --group external").unwrap_err().contains("--marathon"));
        assert!(read("sse -m http://m --grup x").unwrap_err().contains("--grup"));
        assert!(read("sse -m").unwrap_err().contains("no value"));
    }
}
