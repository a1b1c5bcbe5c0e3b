//! `[[sources.mesos]]`, `[[sources.marathon]]` and `[[sources.file]]`.

use std::time::Duration;

use crate::config::checked::{MesosEncoding, MesosMode};
use crate::config::kind::duration::Span;
use crate::config::kind::masters::MastersKind;
use crate::config::kind::number::{Share, Whole};
use crate::config::kind::text::{FILE, HOST, Hidden, LINE, NAME, ZONE};
use crate::config::kind::url::MarathonUrl;
use crate::config::kind::{Choice, Flag, Many, Optional};
use crate::config::raw::{Raw, RawFile, RawMarathon, RawMesos};
use crate::config::section::{Example, ListRules, Presence, Section};
use crate::config::setting::{Reload, Setting, setting};

pub(super) fn section() -> Section<Raw> {
    Section::new("sources", "")
        .list(
            &ListRules { most: 64, reload: Reload::Live, examples: MESOS_EXAMPLES },
            mesos(),
            |raw: &Raw| &raw.mesos,
            |raw: &mut Raw| &mut raw.mesos,
        )
        .list(
            &ListRules { most: 64, reload: Reload::Live, examples: MARATHON_EXAMPLES },
            marathon(),
            |raw: &Raw| &raw.marathon,
            |raw: &mut Raw| &mut raw.marathon,
        )
        .list(
            &ListRules { most: 64, reload: Reload::Live, examples: FILE_EXAMPLES },
            file(),
            |raw: &Raw| &raw.files,
            |raw: &mut Raw| &mut raw.files,
        )
}

const MESOS_EXAMPLES: &[Example] = &[
    Example {
        about: "A cluster with one master on this machine.",
        active: true,
        values: &[("name", "\"mesos\""), ("zone", "\"mesos\""), ("masters", "[\"127.0.0.1:5050\"]")],
    },
    Example {
        about: "A DC/OS cluster: masters found through ZooKeeper, a service account's token, TLS.",
        active: false,
        values: &[
            ("name", "\"dcos\""),
            ("zone", "\"dcos.example.com\""),
            ("masters", "\"zk://zk1:2181,zk2:2181,zk3:2181/mesos\""),
            ("zookeeper_auth_file", "\"/etc/pointsman/zookeeper-auth\""),
            ("token_file", "\"/etc/pointsman/dcos-token\""),
            ("tls.ca", "\"/etc/pointsman/dcos-ca.pem\""),
        ],
    },
];

const MARATHON_EXAMPLES: &[Example] = &[
    Example {
        about: "Marathon beside the Mesos cluster that it runs its tasks on: service ports, its own health checks.",
        active: false,
        values: &[
            ("name", "\"marathon\""),
            ("cluster", "\"mesos\""),
            ("urls", "[\"http://marathon1:8080\", \"http://marathon2:8080\"]"),
        ],
    },
    Example {
        about: "Marathon of a DC/OS cluster alone, by a service account.",
        active: false,
        values: &[
            ("name", "\"dcos-marathon\""),
            ("urls", "[\"https://leader.mesos/service/marathon\"]"),
            ("service_account", "\"/etc/pointsman/account.json\""),
            ("tls.ca", "\"/etc/pointsman/dcos-ca.pem\""),
        ],
    },
];

const FILE_EXAMPLES: &[Example] = &[Example {
    about: "Services on machines outside the clusters.",
    active: false,
    values: &[("name", "\"static\""), ("path", "\"services.toml\"")],
}];

fn mesos() -> Section<RawMesos> {
    Section::new(
        "mesos",
        "A Mesos or DC/OS cluster; one entry for each. A changed entry opens its stream anew; what is served goes \
            on meanwhile.",
    )
    .settings(identity())
    .settings(credentials())
    .settings(polling())
    .settings(stream())
    .section(tls())
    .section(guard())
}

fn identity() -> [Setting<RawMesos>; 4] {
    [
        setting!(RawMesos, "name", NAME, name)
            .required()
            .example("\"mesos\"")
            .means(
                "The source's name in logs, metrics, the API and environment variables. Another name is another \
                source.",
            )
            .costs("None."),
        setting!(RawMesos, "cluster", Optional(NAME), cluster)
            .by_default("the source's name")
            .example("\"mesos\"")
            .means("The cluster that it tells of, a part of every task's and service's identity.")
            .costs("Another cluster is another identity for everything in it: claims begin anew.")
            .reloads(Reload::Restart),
        setting!(RawMesos, "zone", ZONE, config.zone)
            .required()
            .example("\"mesos\"")
            .means("The DNS zone of the cluster's names. No two sources have one zone, or one within the other's.")
            .costs("All names of the cluster change with it."),
        Setting::new(
            "masters",
            Optional(MastersKind),
            |raw: &RawMesos| raw.masters.clone(),
            |raw: &mut RawMesos, masters| raw.masters = masters,
        )
        .required()
        .example("[\"127.0.0.1:5050\"]")
        .means(
            "Where the masters are: a ZooKeeper URL (port 2181 if none is given) whose leader is followed, or a \
            list of host:port (5050 if none is given), each with http:// or https:// before it if wanted.",
        )
        .costs(
            "One stream of events from the leading master; a subscription freezes a master for up to a few \
            seconds in a large cluster.",
        ),
    ]
}

fn polling() -> [Setting<RawMesos>; 3] {
    let second = Duration::from_secs(1);
    let words = Choice(&[("subscribe", MesosMode::Subscribe), ("state", MesosMode::State)]);
    [
        setting!(RawMesos, "mode", words, config.mode)
            .means(
                "How changes are learnt: \"subscribe\" follows the operator API's events (Mesos 1.1 or later), \
                \"state\" reads /master/state at an interval, from masters that cannot be subscribed to.",
            )
            .costs(
                "\"state\" learns of a change up to `poll_interval` later, and the master writes its whole state \
                each time.",
            ),
        setting!(RawMesos, "poll_interval", Span::between(second, second * 86_400), config.poll_interval)
            .means(
                "The time between two reads in mode \"state\", a tenth more or less by chance; a new leader is \
                read at once.",
            )
            .costs("A shorter time is more work for the master: about 1.5 KB of JSON a task and read."),
        setting!(RawMesos, "poll_timeout", Span::between(second, second * 3600), config.poll_timeout)
            .means("The longest time that one read in mode \"state\" may take; what was known is served meanwhile.")
            .costs("A longer time finds a hanging master later."),
    ]
}

fn credentials() -> [Setting<RawMesos>; 5] {
    [
        setting!(RawMesos, "principal", Optional(LINE), principal)
            .example("\"pointsman\"")
            .means("The principal of HTTP basic authentication; needs `secret`.")
            .costs("None."),
        setting!(RawMesos, "secret", Optional(Hidden), secret)
            .secret()
            .means(
                "The principal's secret. Credentials of any kind are sent to the masters of the list, or those that \
                ZooKeeper tells of, and to no others: a leader that the list lacks gets none.",
            )
            .costs("None; kept out of logs and the API."),
        setting!(RawMesos, "token", Optional(Hidden), token)
            .secret()
            .alternative()
            .means("A token sent as `Authorization: token=…` (DC/OS), in place of `principal` and `secret`.")
            .costs("None; kept out of logs and the API."),
        setting!(RawMesos, "service_account", Optional(FILE), service_account)
            .alternative()
            .example("\"/etc/pointsman/account.json\"")
            .means(
                "The file of a DC/OS service account (`uid`, `private_key`, `login_endpoint`), in place of a token: one is \
                had by logging in, and renewed. A login over https:// trusts the authorities of `tls.ca`.",
            )
            .costs("A login an hour."),
        setting!(RawMesos, "zookeeper_auth", Optional(Hidden), zookeeper_auth)
            .secret()
            .alternative()
            .means("`user:password` for ZooKeeper's digest authentication, in place of credentials in the URL.")
            .costs("None; kept out of logs and the API."),
    ]
}

fn stream() -> [Setting<RawMesos>; 4] {
    let words = Choice(&[("protobuf", MesosEncoding::Protobuf), ("json", MesosEncoding::Json)]);
    let hour = Duration::from_secs(3600);
    [
        setting!(RawMesos, "encoding", words, config.encoding)
            .means("How the master writes its answers.")
            .costs("JSON is about twice the octets and several times the work on both sides."),
        setting!(RawMesos, "missed_heartbeats", Whole::between(1, 100), config.missed_heartbeats)
            .unit("heartbeat intervals of 15s")
            .means("A stream that was silent for so long counts as dead and is opened anew.")
            .costs("More notices a dead master later; fewer subscribes anew when the master is only slow."),
        setting!(RawMesos, "max_backoff", Span::between(Duration::from_millis(100), hour), config.max_backoff)
            .means(
                "The longest pause between two attempts to reach a master; pauses double up to it and vary at random.",
            )
            .costs("A longer pause finds a returned master later."),
        setting!(RawMesos, "agents_interval", Span::between(Duration::ZERO, hour * 24), config.agents_interval)
            .means("How often the list of agents is read, to notice those that vanish in silence; \"0s\": never.")
            .costs("Each reading is an answer of some kilobytes an agent from the leading master."),
    ]
}

fn tls() -> Section<RawMesos> {
    let presence = Presence { is_present: RawMesos::uses_tls, note: |raw| raw.has_tls = true };
    Section::new("tls", "TLS towards the masters. The section alone turns it on, as https:// before the masters does.")
        .presence(presence)
        .settings([
            setting!(RawMesos, "ca", Optional(FILE), tls_ca)
                .example("\"/etc/pointsman/mesos-ca.pem\"")
                .by_default("the system's authorities")
                .means("PEM file with the authorities to trust.")
                .costs("None."),
            setting!(RawMesos, "certificate", Optional(FILE), tls.certificate)
                .example("\"/etc/pointsman/client.pem\"")
                .means("PEM file with a client certificate and its chain; needs `key`.")
                .costs("None."),
            setting!(RawMesos, "key", Optional(FILE), tls.key)
                .example("\"/etc/pointsman/client.key\"")
                .means("PEM file with the client certificate's key.")
                .costs("None; the file must be readable by the program alone."),
            setting!(RawMesos, "server_name", Optional(HOST), tls_server_name)
                .example("\"master.example.com\"")
                .by_default("the host connected to")
                .means("The name to verify in the master's certificate.")
                .costs("None."),
        ])
}

fn guard() -> Section<RawMesos> {
    let day = Duration::from_secs(86_400);
    Section::new(
        "guard",
        "Removals that a snapshot only implies by absence are held back when they are too many at once. Explicit \
            ends of tasks always act.",
    )
    .settings([
        setting!(RawMesos, "max_share", Share, config.guard.max_share)
            .unit("part of the source's tasks")
            .means("Removals are held when they are more than this share …")
            .costs(
                "A larger share believes more of a wrong snapshot at once. 1 believes any, and agents without any of their \
                tasks at the second look; with less, those are never believed by time.",
            ),
        setting!(RawMesos, "max_count", Whole::between(0, 100_000_000), config.guard.max_count)
            .unit("tasks")
            .means("… and more than this many.")
            .costs("As for `max_share`."),
        setting!(RawMesos, "confirm_after", Span::between(Duration::ZERO, day), config.guard.confirm_after)
            .means("A second complete snapshot at least this much later that agrees ends the hold.")
            .costs("Tasks that are really gone are served for longer; connecting to them fails and is retried."),
        setting!(RawMesos, "give_up_after", Span::between(Duration::ZERO, day), config.guard.give_up_after)
            .means("The hold ends by itself after this time; never for a source that shows agents without their tasks.")
            .costs("As for `confirm_after`."),
        setting!(RawMesos, "recovered_keep", Span::between(Duration::ZERO, day), config.guard.recovered_keep)
            .means("How long tasks are kept whose agents a new leader still waits for.")
            .costs("As for `confirm_after`."),
    ])
}

fn marathon() -> Section<RawMarathon> {
    let hour = Duration::from_secs(3600);
    Section::new(
        "marathon",
        "A Marathon; one entry for each. With the cluster of a Mesos source it adds to that one's tasks what only \
            Marathon knows (service ports, its own health checks, readiness, labels of pods); alone it tells of the tasks \
            too, which then have no DNS names.",
    )
    .settings([
        setting!(RawMarathon, "name", NAME, name)
            .required()
            .example("\"marathon\"")
            .means("The source's name in logs, metrics, the API and environment variables.")
            .costs("None."),
        setting!(RawMarathon, "cluster", Optional(NAME), cluster)
            .by_default("the source's name")
            .example("\"mesos\"")
            .means("The cluster whose tasks it runs; that of a `[[sources.mesos]]`, where there is one.")
            .costs("Another cluster is another identity for everything in it: claims begin anew.")
            .reloads(Reload::Restart),
        setting!(RawMarathon, "urls", Many::new(MarathonUrl, "URLs", 16).some(), config.urls)
            .required()
            .example("[\"http://marathon:8080\"]")
            .means(
                "URLs of the instances of one Marathon; they are tried in turn, and redirects to the leader followed. \
                Credentials go to these hosts alone: where they are asked for, every instance must be here.",
            )
            .costs("One stream of events, and a read of each app that changes."),
        setting!(RawMarathon, "credentials", Optional(Hidden), credentials)
            .secret()
            .means("`user:password` for HTTP basic authentication.")
            .costs("None; kept out of logs and the API."),
        setting!(RawMarathon, "token", Optional(Hidden), token)
            .secret()
            .alternative()
            .means("A token sent as `Authorization: token=…` (DC/OS), in place of `credentials`.")
            .costs("None; kept out of logs and the API."),
        setting!(RawMarathon, "service_account", Optional(FILE), service_account)
            .alternative()
            .example("\"/etc/pointsman/account.json\"")
            .means(
                "The file of a DC/OS service account (`uid`, `private_key`, `login_endpoint`), in place of a token: one is \
                had by logging in, and renewed.",
            )
            .costs("A login an hour."),
        setting!(RawMarathon, "use_health", Flag, config.use_health)
            .means("Whether Marathon's health and readiness checks decide about requests (marathon-lb: `--health-check`).")
            .costs("Without it, requests reach tasks that Marathon knows to be unhealthy."),
        setting!(RawMarathon, "active_checks", Flag, config.active_checks)
            .means(
                "Whether this program makes the health checks of Marathon's apps too, as marathon-lb lets HAProxy make them: \
                the first that looks at a port, by its path, interval, timeout and number of failures, where no label of \
                the port says otherwise. Not those by a command, nor those with a port of their own that requests might not be \
                sent to.",
            )
            .costs("A request for each port of each task at the app's interval; a new task waits for the first success."),
        setting!(RawMarathon, "resync", Span::between(Duration::from_secs(10), hour * 24), config.resync)
            .means("How often everything is read although no event said so.")
            .costs("The list of all apps with their tasks: 15 MB at 5,000 apps."),
        setting!(RawMarathon, "max_backoff", Span::between(Duration::from_millis(100), hour), config.max_backoff)
            .means("The longest pause between two attempts; pauses double up to it and vary at random.")
            .costs("A longer pause finds a returned Marathon later."),
    ])
    .section(marathon_tls())
}

fn marathon_tls() -> Section<RawMarathon> {
    Section::new("tls", "TLS towards those of the URLs that begin with https://.").settings([
        setting!(RawMarathon, "ca", Optional(FILE), config.tls.ca)
            .example("\"/etc/pointsman/ca.pem\"")
            .by_default("the system's")
            .means("PEM file with the authorities to trust.")
            .costs("None."),
        setting!(RawMarathon, "certificate", Optional(FILE), tls.certificate)
            .example("\"/etc/pointsman/client.pem\"")
            .means("PEM file with a client certificate and its chain; needs `key`.")
            .costs("None."),
        setting!(RawMarathon, "key", Optional(FILE), tls.key)
            .example("\"/etc/pointsman/client.key\"")
            .means("PEM file with the certificate's key.")
            .costs("None."),
        setting!(RawMarathon, "server_name", Optional(HOST), tls_server_name)
            .example("\"marathon.example.com\"")
            .by_default("the URL's host")
            .means("The name that the certificate must have.")
            .costs("None."),
    ])
}

fn file() -> Section<RawFile> {
    Section::new(
        "file",
        "A watched TOML file with services, endpoints, routes and records; for people without a cluster, and \
            beside one.",
    )
    .settings([
        setting!(RawFile, "name", NAME, name)
            .required()
            .example("\"static\"")
            .means("The source's name; also the cluster of what it lists.")
            .costs("None."),
        setting!(RawFile, "path", FILE, path)
            .required()
            .example("\"services.toml\"")
            .means("The file; a relative path starts at this file's folder.")
            .costs("A watch on its folder."),
        setting!(RawFile, "zones", Many::new(ZONE, "zones", 64), zones)
            .example("[\"static.example.com\"]")
            .means("DNS zones that the file's records may be in; with a cluster's own zone they stand beside its names, and before them.")
            .costs("This server answers for the zones: names that the file does not list do not exist."),
    ])
}
