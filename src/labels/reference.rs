//! The documentation of labels, made from the same table as the parser.

use super::keys::{About, HAPROXY_KEYS, Haproxy, KEYS};

/// The reference of all labels as Markdown.
pub fn reference_markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("| Key | Value | Default | Example | Without a port | Meaning |\n|---|---|---|---|---|---|\n");
    for key in KEYS {
        let name = match key.also {
            "" => format!("`{}`", key.name),
            also => format!("`{}` (or `{also}`)", key.name),
        };
        let default = if key.default.starts_with('/') { format!("`{}`", key.default) } else { key.default.to_owned() };
        out.push_str(&format!(
            "| {name} | {} | {default} | `{}` | {} | {} |\n",
            key.kind.describe(),
            key.example,
            without_port(key.about),
            key.meaning,
        ));
    }
    out.push_str(HAPROXY_INTRODUCTION);
    out.push_str("| Label | Meaning |\n|---|---|\n");
    let shown = |name: &str, per_port: bool| format!("`HAPROXY_{}{name}`", if per_port { "{n}_" } else { "" });
    for key in HAPROXY_KEYS.iter().filter(|key| key.verdict != Haproxy::Raw) {
        out.push_str(&format!("| {} | {} |\n", shown(key.name, key.per_port), key.meaning));
    }
    let named = |verdict: Haproxy| {
        let keys = HAPROXY_KEYS.iter().filter(|key| key.verdict == verdict);
        keys.map(|key| shown(key.name, key.per_port)).collect::<Vec<_>>().join(", ")
    };
    out.push_str(&format!(
        "\nRefused, because their values are text for HAProxy's own file: {}, and all of the `…HTTP_FRONTEND_…` and \
         `…HTTPS_FRONTEND_…` families.\n",
        named(Haproxy::Raw)
    ));
    out
}

fn without_port(about: About) -> &'static str {
    match about {
        About::Task => "(of the task only)",
        About::EveryPort => "every port",
        About::FirstPort | About::Route | About::EveryRoute => "the first port",
    }
}

const INTRODUCTION: &str = "\
| Label | Speaks of |
|---|---|
| `pointsman.<key>` | the task |
| `pointsman.<port>.<key>` | one port, by name or by index from 0 |
| `pointsman.<port>.route.<name>.<key>` | one of several routes of a port; keys from `host` to `response_headers`, and `priority`, `filters`, `timeout` |
| `pointsman.route.<name>.<key>` | the same for the first port |

A port is sought by name first, then by index. A key wins over a port that is named like its first word \
(`scrape`, `health`, `route`, `port`): such a port is reached by its index, or as `pointsman.port.<port>.<key>`. \
The labels of a discovery port itself may carry `pointsman.<key>` too, and speak of that port.
Capitals do not matter in keys; they do in names of ports and routes.

Of several routes that a request has everything for, one is chosen by this order alone: the host (exact, wildcard from \
long to short, expression from long to short, `*`; the first that any route names decides alone), the path (exact, \
expression, prefix, each from long to short), a method before none, more headers and cookies, more parameters of the \
query, the priority, and since when the route has been claimed. Regular expressions stand for the whole text and have \
no look-around and no back-references, so that each is tried in one pass; one that cannot be read makes no route, as \
does any other condition that cannot be read.

What is said of a port counts more than what is said of the task. A label that cannot be understood is listed as a \
problem of the task, and the rest still counts.

";

const HAPROXY_INTRODUCTION: &str = "
Of marathon-lb's labels these are understood (`{n}`: index of the port, from 0). Where a native label says the same, \
the native one counts.

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let text = reference_markdown();
        for key in KEYS {
            assert!(text.contains(&format!("| `{}`", key.name)), "{}", key.name);
        }
        for key in HAPROXY_KEYS {
            let name = format!("`HAPROXY_{}{}`", if key.per_port { "{n}_" } else { "" }, key.name);
            assert!(text.contains(&name), "{name}");
        }
    }
}
