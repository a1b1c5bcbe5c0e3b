//! The README's generated parts are current, and what it shows as files can be read.

use std::path::Path;

use pointsman::config::{self, Environment};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// What stands between `<!-- name -->` and `<!-- /name -->`.
fn part(text: &str, name: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let from = text.find(&begin).unwrap_or_else(|| panic!("README.md has no {begin}")) + begin.len();
    let to = text[from..].find(&end).unwrap_or_else(|| panic!("README.md has no {end}")) + from;
    text[from..to].trim().to_owned()
}

fn check(name: &str, expected: &str) {
    assert!(
        part(&readme(), name) == expected.trim(),
        "the part `{name}` of README.md is not current; put the output of `pointsman config {name}` there"
    );
}

#[test]
fn the_settings_are_current() {
    check("reference", &config::reference_markdown());
}

#[test]
fn the_labels_are_current() {
    check("labels", &pointsman::labels::reference_markdown());
}

#[test]
fn the_reason_codes_are_current() {
    check("reasons", &pointsman::proxy::reason::reference_markdown());
}

/// The fenced blocks of this language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let mut blocks = Vec::new();
    let mut rest = text.as_str();
    let fence = format!("```{language}\n");
    while let Some(begin) = rest.find(&fence) {
        let body = &rest[begin + fence.len()..];
        let end = body.find("```").unwrap();
        blocks.push(body[..end].to_owned());
        rest = &body[end..];
    }
    blocks
}

#[test]
fn the_configuration_and_the_service_file_it_shows_are_valid() {
    let blocks = blocks("toml");
    let [
        configuration,
        services,
        filters,
        forwarding,
        access,
        encrypted,
        secondaries,
        logged,
        requests,
        spans,
        tls,
        acme,
        tasks,
        marathon,
    ] = blocks.as_slice()
    else {
        panic!("{} TOML blocks", blocks.len())
    };
    let whole = format!("{configuration}\n{forwarding}").replacen("[dns]\nlisten = [\"0.0.0.0:53\"]\n", "", 1);
    let checked = config::check(&whole, Path::new("readme.toml"), Environment::empty());
    let zones = checked.map(|config| config.dns.forward.zones.len()).map_err(|errors| errors.to_string());
    assert_eq!(zones, Ok(1));
    let beside = |block: &str, environment| {
        let whole = format!("{configuration}\n{block}");
        let whole = match block.contains("[dns]\n") {
            true => whole.replacen("[dns]\nlisten = [\"0.0.0.0:53\"]\n", "", 1),
            false => whole,
        };
        let checked = config::check(&whole, Path::new("readme.toml"), environment);
        checked.unwrap_or_else(|errors| panic!("{errors}"))
    };
    assert_eq!(beside(requests, Environment::empty()).proxy.access_log.sample, 100);
    assert_eq!(beside(filters, Environment::empty()).proxy.filters.len(), 2);
    // A program without what sends spans refuses them.
    let whole = format!("{configuration}\n{spans}");
    let key = |_: &Path| Ok("api-key=secret\n".to_owned());
    let checked = config::check(&whole, Path::new("readme.toml"), Environment::new(&|_| None, &key));
    let endpoint = checked.map(|config| config.proxy.trace.otlp.endpoint.is_some());
    match config::otlp::IS_BUILT {
        true => assert_eq!(endpoint.map_err(|errors| errors.to_string()), Ok(true)),
        false => assert!(endpoint.unwrap_err().to_string().contains("--features otlp")),
    }
    let beside = |block: &str, environment| beside(block, environment).dns;
    assert_eq!(beside(access, Environment::empty()).rate_limit.responses_per_second, 20);
    assert_eq!(beside(logged, Environment::empty()).log.sample, 100);
    assert_eq!(beside(encrypted, Environment::empty()).tls.listen.len(), 1);
    let key = |_: &Path| Ok("hmac-sha256:k1:AAAAAAAAAAAAAAAAAAAAAA==\n".to_owned());
    assert_eq!(beside(secondaries, Environment::new(&|_| None, &key)).transfer.keys.len(), 1);
    let whole = format!("{configuration}\n{tls}\n{acme}\n{tasks}");
    let checked = config::check(&whole, Path::new("readme.toml"), Environment::empty());
    let entries =
        checked.map(|config| (config.proxy.listeners.len(), config.proxy.acme.len(), config.upstreams.tls.len()));
    assert_eq!(entries.map_err(|errors| errors.to_string()), Ok((2, 1, 2)));
    let checked = config::check(marathon, Path::new("readme.toml"), Environment::empty());
    assert_eq!(checked.map(|config| config.marathon.len()).map_err(|errors| errors.to_string()), Ok(1));
    let checked = config::check(configuration, Path::new("readme.toml"), Environment::empty());
    assert_eq!(checked.map(|config| config.mesos.len()).map_err(|errors| errors.to_string()), Ok(1));
    let source = config::checked::FileConfig { name: "file".into(), path: "services.toml".into(), zones: Vec::new() };
    let read = pointsman::cluster::sources::file::read(services, Path::new("services.toml"), &source);
    assert!(read.is_ok(), "{}", read.err().map(|errors| errors.to_string()).unwrap_or_default());
}

#[test]
fn the_commands_it_shows_parse() {
    let tour = blocks("console").concat();
    let commands = tour.lines().filter_map(|line| line.strip_prefix("$ target/release/pointsman "));
    let mut tried = 0;
    for command in commands {
        // Asked for help, a subcommand that does not exist is an error.
        let words: Vec<&str> = command.split_whitespace().take(1).chain(["--help"]).collect();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman")).args(&words).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        tried += 1;
    }
    assert!(tried >= 5, "the tour shows commands");
}

/// A test is named as `file::function`.
#[test]
fn the_tests_it_names_exist() {
    let text = readme();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = 0;
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let pairs = text.split('`').filter_map(|word| word.split_once("::"));
    for (file, function) in pairs.filter(|(file, function)| is_word(file) && is_word(function)) {
        let source = std::fs::read_to_string(folder.join(file).with_extension("rs"));
        let source = source.unwrap_or_else(|error| panic!("{file}::{function}: {error}"));
        assert!(source.contains(&format!("fn {function}()")), "{file} has no test {function}");
        found += 1;
    }
    assert!(found >= 20, "the table of the strictness tests");
}
