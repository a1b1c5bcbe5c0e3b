//! `[admin]`.

use crate::config::kind::network::Socket;
use crate::config::kind::text::{FILE, HOST, Hidden, SOCKET};
use crate::config::kind::{Flag, Many, Optional};
use crate::config::raw::Raw;
use crate::config::section::Section;
use crate::config::setting::{Reload, Setting, setting};

pub(super) fn section() -> Section<Raw> {
    Section::new("admin", "The admin API. Calls that change something need the socket or the token.").settings([
        setting!(Raw, "listen", Optional(Socket), config.admin.listen)
            .example("\"127.0.0.1:18080\"")
            .by_default("no TCP listener")
            .means(
                "Its TCP address, best on loopback: one that is not needs `certificate`, `key` and `token`. Without it there \
                is none: an address that is taken keeps a program from starting, and with one of the program's own \
                choice no second instance would start on a machine.",
            )
            .costs("Whoever reaches it can read what runs in the clusters.")
            .reloads(Reload::Listener),
        setting!(Raw, "socket", Optional(SOCKET), config.admin.socket)
            .example("\"/run/pointsman/admin.sock\"")
            .by_default("no socket")
            .means("A Unix socket with mode 0600, which the command line uses.")
            .costs("None.")
            .reloads(Reload::Listener),
        setting!(Raw, "token", Optional(Hidden), config.admin.token)
            .secret()
            .means("The bearer token that allows calls over TCP which change something.")
            .costs("None; kept out of logs and the API."),
        setting!(Raw, "certificate", Optional(FILE), admin_tls.certificate)
            .example("\"/etc/pointsman/admin.pem\"")
            .by_default("clear text")
            .means(
                "PEM file with the certificate and its chain for TLS; needs `key`. Both files are followed; a changed \
                pair is taken up without a reload.",
            )
            .costs("None.")
            .reloads(Reload::Listener),
        setting!(Raw, "key", Optional(FILE), admin_tls.key)
            .example("\"/etc/pointsman/admin.key\"")
            .means("PEM file with the certificate's key.")
            .costs("None; the file must be readable by the program alone.")
            .reloads(Reload::Listener),
        Setting::new(
            "hosts",
            Many::new(HOST, "hosts", 64),
            |raw: &Raw| raw.config.admin.hosts.iter().map(|host| host.as_str().into()).collect(),
            |raw: &mut Raw, hosts| raw.config.admin.hosts = hosts.iter().map(|host| host.to_string()).collect(),
        )
        .example("[\"pointsman.example.com\"]")
        .means("Values of `Host` that are accepted beside the listener's own addresses and `localhost`.")
        .costs("A name that others control lets their web pages call the API."),
        setting!(Raw, "metrics_listen", Optional(Socket), config.admin.metrics_listen)
            .example("\"127.0.0.1:10082\"")
            .by_default("only with the API")
            .means("Another address for `/metrics`, `/healthz` and `/readyz` alone.")
            .costs("None.")
            .reloads(Reload::Listener),
        setting!(Raw, "mesos_dns_listen", Optional(Socket), config.admin.mesos_dns_listen)
            .example("\"127.0.0.1:8123\"")
            .by_default("none")
            .means("An address for the HTTP API of Mesos-DNS, about the first Mesos source's zone.")
            .costs("As there, whoever reaches it can read all names, and what the sources are; secrets are hidden.")
            .reloads(Reload::Listener),
        setting!(Raw, "mesos_dns_enumeration", Flag, config.admin.mesos_dns_enumeration)
            .means("Whether that API lists all names that Mesos-DNS has (`/v1/enumerate`, `/v1/axfr`).")
            .costs("An answer of all names; each takes a core for a while in a large cluster."),
    ])
}
