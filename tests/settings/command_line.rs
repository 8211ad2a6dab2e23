//! Flags, environment and file, as `thalweg config` shows them, and what is refused.

use serde_json::Value;

use crate::program::Files;

/// The row of a setting as `--json` prints it.
fn row<'a>(rows: &'a Value, name: &str) -> &'a Value {
    let mut rows = rows.as_array().expect("an array").iter();
    rows.find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is not printed"))
}

#[test]
fn what_is_in_force_and_where_it_comes_from() {
    let files = Files::new();
    files.write("t.toml", "idle_secs = 7\npeer_secs = 9\nread_cache_bytes = \"1MiB\"\n");
    let arguments = ["config", "--config=t.toml", "--peer-secs=11", "--local-root=d", "--json"];
    let variables = [
        ("THALWEG_SHARDS", "3"),
        ("THALWEG_IDLE_SECS", "8"),
        ("THALWEG_APPEND_INFLIGHT_BYTES", "2 GiB"),
        ("THALWEG_NO_CORS", "1"),
        ("THALWEG_NO_DASHBOARD", "1"),
        ("THALWEG_ROOT_TOKEN", "secret-of-the-environment"),
        ("RUST_LOG", "debug"),
        ("S2LITE_INIT_FILE", "i.json"),
    ];
    let (code, out, said) = files.run(&arguments, &variables);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{out}");
    assert!(!out.contains("secret-of-the-environment"), "{out}");
    let rows: Value = serde_json::from_str(&out).expect("JSON");
    let expected = [
        ("shards", "3", "N", "environment", "THALWEG_SHARDS"),
        ("idle_secs", "8", "SECS", "environment", "THALWEG_IDLE_SECS"),
        ("peer_secs", "11", "SECS", "flag", "--peer-secs"),
        ("read_cache_bytes", "1048576", "BYTES", "file", "t.toml"),
        ("append_inflight_bytes", "2147483648", "BYTES", "environment", ""),
        ("data_dir", "\"d\"", "DIR", "flag", "--data-dir"),
        ("no_cors", "true", "", "environment", "THALWEG_NO_CORS"),
        ("no_dashboard", "true", "", "environment", "THALWEG_NO_DASHBOARD"),
        ("init_file", "\"i.json\"", "FILE", "environment", "S2LITE_INIT_FILE"),
        ("log_level", "\"debug\"", "FILTER", "environment", "RUST_LOG"),
        ("segment_bytes", "134217728", "BYTES", "default", ""),
        ("audit_log", "null", "FILE", "default", ""),
        ("root_token", "\"(redacted)\"", "", "environment", "THALWEG_ROOT_TOKEN"),
    ];
    for (name, value, unit, kind, source) in expected {
        let row = row(&rows, name);
        assert_eq!(row["value"].to_string(), value, "{row}");
        assert_eq!(row["unit"].as_str().unwrap_or_default(), unit, "{row}");
        assert_eq!(row["source"]["kind"], kind, "{row}");
        assert!(row["source"]["name"].as_str().unwrap_or_default().contains(source), "{row}");
    }
}

#[test]
fn what_is_printed_as_a_file_can_be_given_as_one() {
    let files = Files::new();
    let (_, toml, _) = files.run(&["config", "--toml", "--port=81", "--spin-us=5"], &[]);
    files.write("printed.toml", &toml);
    let (code, again, said) = files.run(&["config", "--toml", "--config=printed.toml"], &[]);
    assert_eq!(code, Some(0), "{said}");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap_or(line).to_owned()).collect()
    };
    assert_eq!(values(&toml), values(&again));
    assert!(toml.contains("listen = \"127.0.0.1:81\" # flag --port"), "{toml}");
    let (code, text, _) = files.run(&["config", "--config=printed.toml"], &[]);
    let spin = text.lines().find(|line| line.starts_with("spin_us ")).expect("it is there");
    let words: Vec<&str> = spin.split_whitespace().collect();
    assert_eq!(
        (code, words.as_slice()),
        (Some(0), &["spin_us", "5", "US", "file", "printed.toml"][..])
    );
}

#[test]
fn checking_finds_what_a_start_would_fail_for() {
    let files = Files::new();
    files.write("good.toml", "shards = 2\n");
    files.write("unknown.toml", "shard = 2\n");
    files.write("type.toml", "shards = \"two\"\n");
    files.write("spec.json", "{\"basins\":[{\"name\":\"x\"}]}");
    files.write("pem", "no certificate");
    let (code, out, said) = files.run(&["config", "--check", "--config=good.toml"], &[]);
    assert_eq!((code, out.as_str()), (Some(0), "the settings can be used\n"), "{said}");
    let cases: [(&[&str], &str); 9] = [
        (&["--config=none.toml"], "cannot read none.toml"),
        (&["--config=unknown.toml"], "unknown.toml: there is no setting \"shard\"; did you mean"),
        (&["--config=type.toml"], "type.toml is not a settings file"),
        (&["--idle-secs=0"], "setting idle_secs: must be 1 to 86400"),
        (&["--log-level=lgo=debug"], "\"lgo\" is no level, no room and no library"),
        (&["--init-file=spec.json"], "init file spec.json: nothing was applied: 1 error(s)\n"),
        (&["--root-token-file=none"], "cannot read the root token in none"),
        (&["--tls-cert=pem", "--tls-key=pem"], "pem"),
        (&["--listen=0.0.0.0:1"], "0.0.0.0:1"),
    ];
    for (arguments, expected) in cases {
        let arguments = [&["config", "--check"], arguments].concat();
        let (code, out, said) = files.run(&arguments, &[]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn options_of_the_peer_that_cannot_be_followed_are_refused_in_a_sentence() {
    let files = Files::new();
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 4] = [
        (&["--local-root", "d", "--wal-bucket", "b"], &[], "--wal-bucket"),
        (&["--wal-local-root", "d"], &[], "--wal-local-root"),
        (&["--path", "p"], &[], "--path"),
        (&[], &[("S2LITE_WAL_BUCKET", "b")], "--wal-bucket"),
    ];
    for (arguments, variables, flag) in cases {
        let arguments = [&["serve"], arguments].concat();
        let (code, _, said) = files.run(&arguments, variables);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(flag) && said.contains("--local-root DIR"), "{said}");
        assert!(!files.path("thalweg-data").exists() && !files.path("d").exists());
    }
    // Their bucket is a name, ours a place.
    let (code, _, said) = files.run(&["serve", "--bucket", "b"], &[]);
    assert!(code == Some(1) && said.contains("b: it must begin with s3://"), "{said}");
    assert!(!files.path("thalweg-data").exists());
    for wrong in [["--append-inflight-bytes", "128miles"], ["--shard", "2"]] {
        let (code, _, said) = files.run(&[&["serve"], &wrong[..]].concat(), &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("128MiB") || said.contains("'--shards'"), "{said}");
    }
}
