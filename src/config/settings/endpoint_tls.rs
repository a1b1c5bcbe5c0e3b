//! `[[upstreams.tls]]`.

use crate::config::checked::EndpointTlsConfig;
use crate::config::kind::text::{FILE, HOST, NAME};
use crate::config::kind::{Many, Optional};
use crate::config::section::{Example, Section};
use crate::config::setting::setting;

pub(super) const EXAMPLES: &[Example] = &[
    Example {
        about: "Endpoints that speak `https` or `h2`, with certificates of an authority of one's own.",
        active: false,
        values: &[("name", "\"default\""), ("ca", "\"/etc/pointsman/internal-ca.pem\"")],
    },
    Example {
        about: "Those of tasks with the label `pointsman.tls = vault`, which ask for a certificate themselves.",
        active: false,
        values: &[
            ("name", "\"vault\""),
            ("ca", "\"/etc/pointsman/vault-ca.pem\""),
            ("certificate", "\"/etc/pointsman/client.pem\""),
            ("key", "\"/etc/pointsman/client.key\""),
            ("server_name", "\"vault.example.com\""),
        ],
    },
];

pub(super) fn section() -> Section<EndpointTlsConfig> {
    Section::new(
        "tls",
        "How TLS is spoken with endpoints (labels `protocol`, `tls`). The files are followed; new ones are taken up \
            without a reload.",
    )
    .settings([
        setting!(EndpointTlsConfig, "name", NAME, name)
            .required()
            .example("\"default\"")
            .means("What labels call it; \"default\" counts where they name none.")
            .costs("None."),
        setting!(EndpointTlsConfig, "ca", Optional(FILE), ca)
            .example("\"/etc/pointsman/internal-ca.pem\"")
            .by_default("the system's")
            .means("PEM file with the authorities to trust.")
            .costs("Whoever holds the key of one of them can stand in for every endpoint."),
        setting!(EndpointTlsConfig, "crl", Many::new(FILE, "files", 64), crl)
            .example("[\"/etc/pointsman/internal.crl\"]")
            .by_default("none: nothing is looked up")
            .means(
                "Files with lists of what the authorities have revoked (CRLs), in PEM or DER. With any, every certificate of \
                an endpoint's chain, but for the trusted one, needs a list of its issuer's that is not past its `nextUpdate`; \
                without one it is not accepted.",
            )
            .costs("Lists that are not written anew in time shut out every endpoint; the lists in memory."),
        setting!(EndpointTlsConfig, "certificate", Optional(FILE), certificate)
            .example("\"/etc/pointsman/client.pem\"")
            .means("PEM file with the certificate that endpoints are shown, and its chain; needs `key`.")
            .costs("None."),
        setting!(EndpointTlsConfig, "key", Optional(FILE), key)
            .example("\"/etc/pointsman/client.key\"")
            .means("PEM file with the certificate's key.")
            .costs("None."),
        setting!(EndpointTlsConfig, "server_name", Optional(HOST), server_name)
            .example("\"internal.example.com\"")
            .by_default("the endpoint's address")
            .means("The name that certificates must be for, and that is sent (SNI), where no label says one.")
            .costs("None."),
    ])
}
