use std::path::Path;

use super::*;

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_the_default() {
    let file: Given = toml::from_str("shards = 4\nidle_secs = 7\nno_cors = true").unwrap();
    let line = Given { shards: Some(2), ..Given::default() };
    let settings = Settings::from(line.or(file), 8).unwrap();
    assert_eq!((settings.shards, settings.idle_secs, settings.cors), (2, 7, false));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:4440");
    assert_eq!(Settings::from(Given::default(), 8).unwrap().shards, 8);
}

#[test]
fn nothing_is_insecure_unless_it_is_said() {
    let settings = Settings::from(Given::default(), 1).unwrap();
    assert!(settings.listen.ip().is_loopback() && settings.metrics_listen.is_none());
    assert_eq!((settings.waived, settings.allow_core_dumps), (Waived::default(), false));
    let file: Given = toml::from_str("insecure_no_tls = true\naudit_log = \"a\"").unwrap();
    let settings = Settings::from(file, 1).unwrap();
    assert_eq!(settings.waived, Waived { auth: false, tls: true });
    assert_eq!(settings.audit_log.as_deref(), Some(Path::new("a")));
}

#[test]
fn unknown_names_and_wrong_types_in_a_file_are_refused() {
    for text in ["shard = 4", "shards = \"four\"", "shards = -1", "listen = \"nowhere\""] {
        assert!(toml::from_str::<Given>(text).is_err(), "{text}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let file = || Some(PathBuf::from("x.pem"));
    let cases: [(&str, Given); 17] = [
        ("request_memory_bytes", Given { request_memory_bytes: Some(Size(1)), ..Given::default() }),
        ("shards", Given { shards: Some(0), ..Given::default() }),
        ("segment_bytes", Given { segment_bytes: Some(Size(8 * MIB + 1)), ..Given::default() }),
        ("segment_bytes", Given { segment_bytes: Some(Size(MIB)), ..Given::default() }),
        (
            "append_inflight_bytes",
            Given { append_inflight_bytes: Some(Size(0)), ..Given::default() },
        ),
        ("index_bytes", Given { index_bytes: Some(Size(MIB - 1)), ..Given::default() }),
        ("scrub_bytes_per_sec", Given { scrub_bytes_per_sec: Some(Size(1)), ..Given::default() }),
        ("bucket_interval_ms", Given { bucket_interval_ms: Some(9), ..Given::default() }),
        ("bucket_lag_bytes", Given { bucket_lag_bytes: Some(Size(1)), ..Given::default() }),
        ("scrub_interval_secs", Given { scrub_interval_secs: Some(0), ..Given::default() }),
        ("spin_us", Given { spin_us: Some(1_000_000), ..Given::default() }),
        ("usage_flush_ms", Given { usage_flush_ms: Some(9), ..Given::default() }),
        ("idle_secs", Given { idle_secs: Some(0), ..Given::default() }),
        ("drain_secs", Given { drain_secs: Some(0), ..Given::default() }),
        ("tls_key", Given { tls_cert: file(), ..Given::default() }),
        ("tls_cert", Given { tls_key: file(), ..Given::default() }),
        (
            "tls_self_signed",
            Given { tls_key: file(), tls_self_signed: Some(true), ..Given::default() },
        ),
    ];
    for (expected, given) in cases {
        match Settings::from(given, 1) {
            Err(ConfigError::Range { name, .. }) => assert_eq!(name, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

/// Settings as they come from a command line and from a file.
fn loaded(line: &[&str], file: Option<PathBuf>) -> Result<Loaded, ConfigError> {
    use clap::FromArgMatches as _;
    let command = Given::augment_args(clap::Command::new("thalweg"));
    let matches = command.get_matches_from([&["thalweg"], line].concat());
    let given = Given::from_arg_matches(&matches).unwrap();
    let variable = |name: &str| match name {
        "RUST_LOG" => Some("info,log=debug".into()),
        "S2LITE_INIT_FILE" => Some("spec.json".into()),
        "S2LITE_NO_DASHBOARD" => Some("yes".into()),
        "THALWEG_ROOT_TOKEN" => Some("a-token-of-the-environment".into()),
        _ => None,
    };
    Layers::new(given, &matches, file, 8, variable).load()
}

/// A file has a port whenever `thalweg config` wrote it.
#[test]
fn an_address_above_the_file_is_not_given_the_files_port() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.toml");
    std::fs::write(&path, "listen = \"127.0.0.1:1\"\nport = 1\n").unwrap();
    let loaded = loaded(&["--listen=127.0.0.1:9000"], Some(path)).unwrap();
    assert_eq!(loaded.settings.listen.to_string(), "127.0.0.1:9000");
    for name in ["listen", "port"] {
        assert_eq!(loaded.sources[name].to_string(), "flag --listen", "{name}");
    }
}

#[test]
fn switches_of_the_peer_are_off_by_these_words() {
    for (value, expected) in [("1", true), ("true", true), ("x", true), ("0", false)] {
        assert_eq!(layers::is_yes(value.as_ref()), expected, "{value}");
    }
    for value in ["n", "no", "f", "false", "off", "OFF", "False"] {
        assert!(!layers::is_yes(value.as_ref()), "{value}");
    }
}

#[test]
fn each_setting_says_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.toml");
    std::fs::write(&path, "shards = 4\nidle_secs = 7\nlog_level = \"off\"\n").unwrap();
    let line = ["--shards=2", "--port", "80", "--local-root", "/a", "--tls-self"];
    let loaded = loaded(&line, Some(path.clone())).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.listen.to_string(), "127.0.0.1:80");
    assert_eq!((settings.shards, settings.idle_secs), (2, 7));
    assert_eq!(settings.data_dir, Path::new("/a"));
    assert_eq!(settings.log_filter.as_str(), "info,log=debug", "the environment is above the file");
    let expected = [
        ("shards", "flag --shards".to_owned()),
        ("port", "flag --port".to_owned()),
        ("listen", "flag --port".to_owned()),
        ("data_dir", "flag --data-dir".to_owned()),
        ("tls_self_signed", "flag --tls-self-signed".to_owned()),
        ("idle_secs", format!("file {}", path.display())),
        ("log_level", "environment RUST_LOG".to_owned()),
        ("init_file", "environment S2LITE_INIT_FILE".to_owned()),
        ("no_dashboard", "environment S2LITE_NO_DASHBOARD".to_owned()),
        ("peer_secs", "default".to_owned()),
    ];
    for (name, source) in expected {
        assert_eq!(loaded.sources[name].to_string(), source, "{name}");
    }
    for form in [Form::Text, Form::Json, Form::Toml] {
        let text = loaded.print(form).unwrap();
        assert!(!text.contains("a-token-of-the-environment"), "{text}");
        assert!(text.contains("root_token") && text.contains("(redacted)"), "{text}");
        for setting in described() {
            assert!(text.contains(&setting.name), "{}: {text}", setting.name);
        }
    }
}

#[test]
fn what_is_printed_as_a_file_says_the_same() {
    let lines: [&[&str]; 5] = [
        &[],
        &["--tls-self-signed", "--no-cors", "--log-format=json", "--segment-bytes=8MiB"],
        &["--tls-cert=a b.pem", "--tls-key=\"k\".pem", "--metrics-listen=[::1]:7"],
        &["--audit-log=a", "--root-token-file=r", "--metrics-token-file=m", "--init-file=i"],
        &["--listen=0.0.0.0:1", "--insecure-no-auth", "--insecure-no-tls", "--log-level=off"],
    ];
    for line in lines {
        let loaded = loaded(line, None).unwrap();
        let text = loaded.print(Form::Toml).unwrap();
        let given = Given::from_text(Path::new("printed.toml"), &text).unwrap();
        assert_eq!(Settings::from(given, 1).unwrap(), loaded.settings, "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&loaded.print(Form::Json).unwrap()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), described().len() + 1);
    }
}

#[test]
fn unknown_settings_are_refused_with_what_may_have_been_meant() {
    let cases = [
        ("shard = 4", "there is no setting \"shard\"; did you mean shards?"),
        ("idle-secs = 4", "\"idle-secs\"; did you mean idle_secs?"),
        ("[tls]\ncert = 1", "there is no setting \"tls\""),
        ("qqqq = 4\nzzzz = 5", "\"qqqq\"\n  there is no setting \"zzzz\""),
    ];
    for (text, expected) in cases {
        let said = Given::from_text(Path::new("f.toml"), text).unwrap_err().to_string();
        assert!(said.starts_with("f.toml: ") && said.contains(expected), "{said}");
    }
    let wrong = Given { log_level: Some("lgo=info".to_owned()), ..Given::default() };
    let said = Settings::from(wrong, 1).unwrap_err().to_string();
    assert!(said.contains("setting log_level: \"lgo\""), "{said}");
}

#[test]
fn changes_are_told_apart_by_what_they_need() {
    let settings = |line: &[&str]| loaded(line, None).unwrap().settings;
    let base = ["--audit-log=a", "--log-level=info"];
    let between = |after: &[&str]| Changes::between(&settings(&base), &settings(after)).unwrap();
    assert_eq!(between(&base), Changes::default());
    let changes = between(&["--audit-log=b", "--log-level=debug", "--idle-secs=5", "--port=9"]);
    assert_eq!(changes.live, ["audit_log", "log_level"]);
    assert_eq!(changes.later, ["idle_secs", "listen", "port"]);
    assert_eq!(between(&["--log-level=info"]).later, ["audit_log"], "there is none any more");
    let known: Vec<String> = described().into_iter().map(|setting| setting.name).collect();
    assert!(LIVE.iter().all(|name| known.iter().any(|known| known == name)));
}

const DOCS_BEGIN: &str = "<!-- settings: made from src/config.rs -->\n";
const DOCS_END: &str = "<!-- end of settings -->";

/// The list of all settings, as it is in the documentation.
fn documented() -> String {
    let mut text = String::new();
    for setting in described() {
        let Described { name, flag, aliases, variable, unit, help } = setting;
        let mut flags = if unit.is_empty() { flag } else { format!("{flag} {unit}") };
        flags = format!("`{flags}`");
        aliases.iter().for_each(|alias| flags.push_str(&format!(", `{alias}`")));
        let change = if LIVE.contains(&name.as_str()) { "at SIGHUP" } else { "restart" };
        let variable = if variable.is_empty() { variable } else { format!("`{variable}`") };
        text.push_str(&format!("| `{name}` | {flags} | {variable} | {change} | {help} |\n"));
    }
    text
}

#[test]
fn the_documentation_has_every_setting() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(DOCS_BEGIN).expect("the list begins");
    let (list, after) = rest.split_once(DOCS_END).expect("the list ends");
    let head = "\n| in a file | flag | environment | changes | meaning |\n|---|---|---|---|---|\n";
    let expected = format!("{head}{}\n", documented());
    if list != expected && std::env::var_os("THALWEG_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{DOCS_BEGIN}{expected}{DOCS_END}{after}")).unwrap();
        return;
    }
    assert!(
        list == expected,
        "docs/CONFIGURATION.md says otherwise than src/config.rs; write it anew with \
         THALWEG_WRITE_DOCS=1 cargo test --lib the_documentation_has_every_setting"
    );
}
