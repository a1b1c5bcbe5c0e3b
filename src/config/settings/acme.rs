//! `[[proxy.acme]]`.

use std::time::Duration;

use crate::config::acme::{AcmeConfig, ChallengeKind};
use crate::config::kind::duration::Span;
use crate::config::kind::number::Whole;
use crate::config::kind::text::{CERTIFIED, CONTACT, FILE, FOLDER, Hidden, Host, LINE, NAME};
use crate::config::kind::url::HttpsUrl;
use crate::config::kind::{Choice, Flag, Many, Optional};
use crate::config::section::{Example, Section};
use crate::config::setting::{Setting, setting};

pub(super) const EXAMPLES: &[Example] = &[Example {
    about: "Let's Encrypt, for listeners whose `certificates` is the same folder.",
    active: false,
    values: &[
        ("name", "\"letsencrypt\""),
        ("directory", "\"https://acme-v02.api.letsencrypt.org/directory\""),
        ("terms_agreed", "true"),
        ("folder", "\"/var/lib/pointsman/certificates\""),
        ("certificates", "[[\"shop.example.com\", \"www.shop.example.com\"], [\"api.example.com\"]]"),
    ],
}];

pub(super) fn section() -> Section<AcmeConfig> {
    Section::new(
        "acme",
        "An authority that certificates are got from by ACME (RFC 8555); one entry for each. Listeners whose \
            `certificates` is the entry's `folder` take them up by themselves.",
    )
    .settings(whom())
    .settings(what())
    .settings(when())
    .section(external_account())
}

fn whom() -> [Setting<AcmeConfig>; 6] {
    [
        setting!(AcmeConfig, "name", NAME, name)
            .required()
            .example("\"letsencrypt\"")
            .means("What logs, metrics and the API call it.")
            .costs("None."),
        setting!(AcmeConfig, "directory", HttpsUrl, directory)
            .required()
            .example("\"https://acme-v02.api.letsencrypt.org/directory\"")
            .means("The URL of its directory. With another one, everything is ordered anew, from there.")
            .costs("None."),
        setting!(AcmeConfig, "contacts", Many::new(CONTACT, "addresses", 16), contacts)
            .example("[\"mailto:ops@example.com\"]")
            .by_default("none")
            .means("Whom the authority may write to about the account.")
            .costs("None."),
        setting!(AcmeConfig, "terms_agreed", Flag, terms_agreed)
            .required()
            .example("true")
            .means("That you have read and agree to the authority's terms of service, which its directory names; must be true.")
            .costs("None."),
        setting!(AcmeConfig, "folder", FOLDER, folder)
            .required()
            .example("\"/var/lib/pointsman/certificates\"")
            .means(
                "Where pairs are kept, NAME.crt and NAME.key by the first host of each, and in `.acme` within it the account's \
                key, what is known of each order and the challenges that are open. It is made if it is not there. Instances \
                that share it order together.",
            )
            .costs("Whoever can read it has the keys: nobody but this program should."),
        setting!(AcmeConfig, "ca", Optional(FILE), ca)
            .example("\"/etc/pointsman/acme-ca.pem\"")
            .by_default("the system's")
            .means("A PEM file with the authorities that answer for the directory's own name: for a private one.")
            .costs("None."),
    ]
}

fn what() -> [Setting<AcmeConfig>; 4] {
    let hosts = || Many::new(CERTIFIED, "hosts", 100).some();
    let kinds = Choice(&[("http-01", ChallengeKind::Http01), ("tls-alpn-01", ChallengeKind::TlsAlpn01)]);
    [
        setting!(AcmeConfig, "certificates", Many::new(hosts(), "lists of hosts", 1000), certificates)
            .example("[[\"shop.example.com\", \"www.shop.example.com\"], [\"api.example.com\"]]")
            .by_default("none")
            .means(
                "The hosts of each certificate. Without any, and without `route_hosts`, nothing is ordered; challenges that \
                other instances have opened in the folder are answered all the same.",
            )
            .costs("An order each, and again for each renewal."),
        setting!(AcmeConfig, "route_hosts", Many::new(Host, "hosts", 1024), route_hosts)
            .example("[\"*.apps.example.com\"]")
            .by_default("none")
            .means("Hosts of routes, exact ones that these stand for, get a certificate each while the route is there.")
            .costs("Whoever can claim such a host causes orders, within `max_route_hosts`."),
        setting!(AcmeConfig, "max_route_hosts", Whole::between(1, 10_000), max_route_hosts)
            .unit("hosts")
            .means(
                "Hosts of routes that have a certificate or an order at most. One whose route is gone counts until its \
                certificate ends, or for a week after its last order failed: coming and going makes no room.",
            )
            .costs("More of what the authority allows in a week can be used up by tasks."),
        setting!(AcmeConfig, "challenge", kinds, challenge)
            .means(
                "How the authority sees that a host leads here: \"http-01\" by port 80, which must be a listener in clear text \
                here, \"tls-alpn-01\" by port 443, which must be one with TLS.",
            )
            .costs("None."),
    ]
}

fn when() -> [Setting<AcmeConfig>; 5] {
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
    [
        setting!(AcmeConfig, "renew_before", Optional(Span::between(second, 3650 * day)), renew_before)
            .example("\"30d\"")
            .by_default("a third of the certificate's life")
            .means("How long before its end a certificate is ordered anew; at most half of its life counts, and chance adds a little.")
            .costs("A longer time costs more orders, a shorter one leaves less time for failures."),
        setting!(AcmeConfig, "retry", Span::between(second, day), retry)
            .means("After an order failed; each further time twice as long …")
            .costs("A short one uses up what the authority allows."),
        setting!(AcmeConfig, "max_retry", Span::between(second, 7 * day), max_retry)
            .means("… up to this, or what the authority asks for (`Retry-After`) where that is longer.")
            .costs("What was mended is noticed so much later; a reload of a changed entry asks at once."),
        setting!(AcmeConfig, "max_orders", Whole::between(1, 100), max_orders)
            .unit("orders")
            .means("Orders at a time.")
            .costs("None."),
        setting!(AcmeConfig, "settle", Span::between(Duration::ZERO, Duration::from_secs(600)), settle)
            .means(
                "Between writing a challenge into the folder and telling the authority, so that every instance has seen it: \
                they look each second. \"0s\" suits one instance.",
            )
            .costs("Each order takes so much longer."),
    ]
}

fn external_account() -> Section<AcmeConfig> {
    Section::new("external_account", "The account that the authority knows its customer by, where it asks for one.")
        .settings([
            setting!(AcmeConfig, "key_id", Optional(LINE), external.key_id)
                .example("\"kid-1\"")
                .by_default("none")
                .means("The key's name, as the authority gave it.")
                .costs("None."),
            setting!(AcmeConfig, "hmac_key", Optional(Hidden), external.hmac_key)
                .secret()
                .means("The key itself, in base64url, as the authority gave it.")
                .costs("None."),
        ])
}
