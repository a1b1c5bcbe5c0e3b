//! What an operator is told of a configuration that is in force and leaves something open.

use crate::config::Config;

/// Says once that everybody who can start a task may claim everything, where that is so. What files say is the operator's
/// own word, so it is nothing to warn of where there are only files.
pub(crate) fn tell(config: &Config) {
    let has_tenants = !config.mesos.is_empty() || !config.marathon.is_empty();
    if has_tenants && config.policies.is_empty() {
        tracing::warn!(
            "no [[policy]] is configured: whoever can start a task may claim every host, path, port and name; add [[policy]] \
             entries to say who may claim what"
        );
    }
}
