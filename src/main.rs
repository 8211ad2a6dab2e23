//! The `thalweg` binary: parses the command line, starts the cores, waits for a signal; no logic.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use thalweg::backup::{self, Backup, Restore};
use thalweg::config::{
    Elsewhere, Form, Given, Layers, LogFilter, LogFormat, ROOT_TOKEN_VARIABLE, RootToken, Settings,
};
use thalweg::doctor;
use thalweg::inspect::{self, Command as Look, Options, RepairPlan};
use thalweg::io::privileges::keep_files_private;
use thalweg::logs;
use thalweg::reload::Reload;
use thalweg::serve::health;
use thalweg::serve::token::{self, TokenRequest};
use thalweg::serve::{available_cpus, check, serve, subject};
use thalweg::types::refusal::chain;

/// A durable-streams server: an append is acknowledged only when it is on disk.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a data directory.
    Serve {
        #[command(flatten)]
        given: Given,

        /// TOML file with settings, named as here with `_` for `-`
        #[arg(long, env = "THALWEG_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,

        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Print the settings that `serve` would have with the same flags, environment and file: each
    /// with its value, its unit and where it comes from.
    Config {
        #[command(flatten)]
        given: Given,

        /// TOML file with settings, as of `serve`
        #[arg(long, env = "THALWEG_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,

        /// Print nothing; find out whether a server could start with them: certificates, tokens and
        /// the init file are read too
        #[arg(long)]
        check: bool,

        /// Print them as JSON
        #[arg(long, conflicts_with_all = ["check", "toml"])]
        json: bool,

        /// Print them as a settings file that says the same
        #[arg(long, conflicts_with = "check")]
        toml: bool,
    },
    /// Show segments, groups and streams of a data directory, also of a running server's.
    Inspect {
        /// The data directory
        dir: PathBuf,

        /// One line for each group of the log
        #[arg(long)]
        groups: bool,
    },
    /// Check every checksum, chain and index entry of a data directory, also of a running
    /// server's; exits 1 and names file and offset when something is wrong.
    Verify {
        /// The data directory
        dir: PathBuf,
    },
    /// Tell what is damaged in the data directory of a stopped server, and which records that took;
    /// exits 1 when something is. Changes nothing, unless told to give a place up.
    Repair {
        /// The data directory
        #[arg(long, env = "THALWEG_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,

        /// This shard alone
        #[arg(long, value_name = "N")]
        shard: Option<u16>,

        /// Give up the damaged place that begins there: its bytes are copied to DIR/quarantine, and
        /// reads pass over the records that were in it instead of failing
        #[arg(long, value_name = "FILE:OFFSET")]
        quarantine: Option<String>,

        /// Only tell what is damaged, as without --quarantine
        #[arg(long, conflicts_with = "quarantine")]
        dry_run: bool,
    },
    /// Look at this machine and the data directory's disk: whether a server can run here, and how
    /// quick it would be. Exits 0 when it is fit, 3 when it is with warnings, 1 when it is not.
    Doctor {
        /// The data directory, which need not exist [default: ./thalweg-data]
        #[arg(long, env = "THALWEG_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,

        /// One JSON object instead of text
        #[arg(long)]
        json: bool,

        /// Do not measure the disk
        #[arg(long)]
        quick: bool,

        /// How long to measure the disk
        #[arg(long, value_name = "N", default_value_t = 5,
              value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Ask the server that runs with these settings, on this machine, whether it is well; exits 1
    /// when it is not, or when there is none.
    Health {
        #[command(flatten)]
        given: Given,

        /// TOML file with its settings
        #[arg(long, env = "THALWEG_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Copy a data directory, also a running server's, and check the copy. What was acknowledged
    /// before is in it; the server gives up no segments meanwhile.
    Backup {
        /// The data directory
        #[arg(long, env = "THALWEG_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,

        /// The backup to make; it must not exist, and is called DEST.incomplete until it is whole
        #[arg(long, value_name = "DEST")]
        to: PathBuf,

        /// An earlier backup of the same directory on the same file system: full segments that are
        /// in it are linked (hard links) instead of copied
        #[arg(long, value_name = "BACKUP")]
        reuse: Option<PathBuf>,

        /// Most bytes read in a second, for the copy and for its check; 0 is no bound
        #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
        bytes_per_sec: u64,
    },
    /// Make a data directory out of a backup; every byte is checked.
    Restore {
        /// The backup
        #[arg(long, value_name = "BACKUP")]
        from: PathBuf,

        /// The data directory to make: empty, or not there yet
        #[arg(long, value_name = "DIR", required_unless_present = "check")]
        data_dir: Option<PathBuf>,

        /// Only check the backup: nothing is written
        #[arg(long, conflicts_with = "data_dir")]
        check: bool,
    },
    /// Make root tokens, and issue access tokens while no server runs.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a new secret, fit for --root-token-file. It is kept nowhere.
    Generate,
    /// Issue an access token into the data directory of a stopped server, as its root token might,
    /// and print its secret. It is printed this once: only a hash of it is kept.
    Issue {
        /// The data directory
        #[arg(long, env = "THALWEG_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,

        /// Names the token, so that it can be revoked; 1 to 96 bytes
        #[arg(long, value_name = "ID")]
        id: String,

        /// What it permits, as in the API, like
        /// '{"basins":{"prefix":""},"streams":{"prefix":""},"op_groups":{"stream":{"read":true}}}'
        #[arg(long, value_name = "JSON")]
        scope: String,

        /// When it expires, like 2030-01-02T03:04:05Z [default: never]
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,

        /// Its requests leave the prefix of its streams out
        #[arg(long)]
        auto_prefix_streams: bool,
    },
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let command = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command;
    let given = matches.subcommand().map_or(&matches, |(_, given)| given);
    match run(command, given) {
        Ok(status) => status,
        Err(message) => {
            eprintln!("thalweg: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, matches: &ArgMatches) -> Result<ExitCode, String> {
    let done = match command {
        Command::Doctor { data_dir, json, quick, seconds } => {
            let budget = (!quick).then(|| Duration::from_secs(seconds));
            return examine(data_dir, budget, json);
        }
        Command::Serve { given, config, elsewhere } => {
            elsewhere.refuse()?;
            run_serve(&layers(given, matches, config))
        }
        Command::Config { given, config, check, json, toml } => {
            let form = match (json, toml) {
                (true, _) => Form::Json,
                (_, true) => Form::Toml,
                _ => Form::Text,
            };
            run_config(&layers(given, matches, config), (!check).then_some(form))
        }
        Command::Token { command } => run_token(command),
        Command::Health { given, config } => {
            let layers = layers(given, matches, config);
            let said = health::ask(&layers.load().map_err(|e| chain(&e))?.settings)?;
            writeln!(std::io::stdout(), "{said}").map_err(|e| format!("the output failed: {e}"))
        }
        Command::Backup { data_dir, to, reuse, bytes_per_sec } => {
            let plan = Backup { data_dir, to, reuse, bytes_per_sec };
            keep_files_private();
            start_logs()?;
            backup::backup(&plan, &mut std::io::stdout().lock()).map_err(|e| chain(&e))
        }
        Command::Restore { from, data_dir, check: _ } => {
            keep_files_private();
            start_logs()?;
            let plan = Restore { from, data_dir };
            backup::restore(&plan, &mut std::io::stdout().lock()).map_err(|e| chain(&e))
        }
        Command::Inspect { dir, groups } => look(&dir, Look::Inspect(Options { groups })),
        Command::Verify { dir } => look(&dir, Look::Verify),
        Command::Repair { data_dir, shard, quarantine, dry_run: _ } => {
            keep_files_private();
            start_logs()?;
            let out = &mut std::io::stdout().lock();
            let plan = RepairPlan { shard, quarantine };
            judged(&data_dir, inspect::repair(&data_dir, &plan, out))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn examine(
    data_dir: Option<PathBuf>,
    budget: Option<Duration>,
    json: bool,
) -> Result<ExitCode, String> {
    start_logs()?;
    let cpus = available_cpus();
    let given = Given { data_dir, ..Given::default() };
    let settings = Settings::from(given, cores(&cpus)).map_err(|e| e.to_string())?;
    let report = doctor::examine(&subject(&settings, cpus.len()), budget);
    let out = &mut std::io::stdout().lock();
    let written = if json { report.write_json(out) } else { report.write_text(out) };
    written.map_err(|e| format!("the output failed: {e}"))?;
    Ok(ExitCode::from(report.verdict.exit_status()))
}

/// How many cores settings reckon with.
fn cores(cpus: &[usize]) -> u16 {
    u16::try_from(cpus.len().min(1024)).expect("at most 1024")
}

fn layers(given: Given, matches: &ArgMatches, config: Option<PathBuf>) -> Layers {
    let cores = cores(&available_cpus());
    Layers::new(given, matches, config, cores, |name| std::env::var_os(name))
}

fn root_token(settings: &Settings) -> Result<Option<RootToken>, String> {
    let variable = std::env::var_os(ROOT_TOKEN_VARIABLE);
    RootToken::load(settings.root_token_file.as_deref(), variable).map_err(|e| chain(&e))
}

fn run_serve(layers: &Layers) -> Result<(), String> {
    let settings = layers.load().map_err(|e| chain(&e))?.settings;
    keep_files_private();
    let audit_log = settings.audit_log.as_deref();
    let logs = logs::start(&settings.log_filter, settings.log_format, audit_log)?;
    layers.notes().iter().for_each(|note| tracing::warn!("{note}"));
    let root = root_token(&settings)?;
    let mut reload = Reload::new(layers.clone(), logs, settings.clone());
    serve(&settings, root.as_ref(), &available_cpus(), &mut || reload.again())
}

/// Prints the settings, or without a form finds out whether a server could start with them.
fn run_config(layers: &Layers, form: Option<Form>) -> Result<(), String> {
    let loaded = layers.load().map_err(|e| chain(&e))?;
    layers.notes().iter().for_each(|note| eprintln!("thalweg: {note}"));
    let text = match form {
        Some(form) => loaded.print(form).map_err(|e| chain(&e))?,
        None => {
            let root = root_token(&loaded.settings)?;
            check(&loaded.settings, root.is_some())?;
            "the settings can be used\n".to_owned()
        }
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| format!("the output failed: {e}"))
}

/// Starts the logs of commands that do not serve.
fn start_logs() -> Result<(), String> {
    let text = std::env::var("THALWEG_LOG").unwrap_or_default();
    let filter = LogFilter::new(&text).map_err(|e| format!("THALWEG_LOG: {e}"))?;
    logs::start(&filter, LogFormat::Text, None).map(|_| ())
}

fn run_token(command: TokenCommand) -> Result<(), String> {
    let secret = match command {
        TokenCommand::Generate => token::generate()?,
        TokenCommand::Issue { data_dir, id, scope, expires_at, auto_prefix_streams } => {
            let asked = TokenRequest { id, scope, expires_at, auto_prefix_streams };
            let given = Given { data_dir: Some(data_dir), ..Given::default() };
            let settings = Settings::from(given, 1).map_err(|e| e.to_string())?;
            token::issue(&settings, &asked)?
        }
    };
    writeln!(std::io::stdout(), "{secret}").map_err(|e| format!("the output failed: {e}"))
}

fn look(dir: &Path, command: Look) -> Result<(), String> {
    start_logs()?;
    judged(dir, inspect::run(dir, command, &mut std::io::stdout().lock()))
}

fn judged(dir: &Path, looked: Result<bool, inspect::Error>) -> Result<(), String> {
    match looked {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} is damaged; see above", dir.display())),
        Err(error) => Err(chain(&error)),
    }
}
