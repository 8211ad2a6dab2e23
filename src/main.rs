//! The `thalweg` binary: parses the command line, starts the cores, waits for a signal; no logic.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thalweg::config::{Given, Settings};
use thalweg::inspect::{self, Command as Look, Options, RepairPlan};
use thalweg::io::privileges::keep_files_private;
use thalweg::logs;
use thalweg::serve::{available_cpus, serve};
use thalweg::types::refusal::chain;

/// A durable-streams server: an append is acknowledged only when it is on disk.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
enum Command {
    /// Serve a data directory.
    Serve {
        #[command(flatten)]
        given: Given,

        /// TOML file with settings, named as here with `_` for `-`
        #[arg(long, env = "THALWEG_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
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
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("thalweg: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Serve { given, config } => {
            let file = match config {
                Some(path) => Given::from_file(&path).map_err(|e| chain(&e))?,
                None => Given::default(),
            };
            let cpus = available_cpus();
            let shards = u16::try_from(cpus.len().min(1024)).expect("at most 1024");
            let settings = Settings::from(given.or(file), shards).map_err(|e| e.to_string())?;
            keep_files_private();
            logs::start(settings.audit_log.as_deref())?;
            serve(&settings, &cpus)
        }
        Command::Inspect { dir, groups } => look(&dir, Look::Inspect(Options { groups })),
        Command::Verify { dir } => look(&dir, Look::Verify),
        Command::Repair { data_dir, shard, quarantine, dry_run: _ } => {
            keep_files_private();
            logs::start(None)?;
            let out = &mut std::io::stdout().lock();
            let plan = RepairPlan { shard, quarantine };
            judged(&data_dir, inspect::repair(&data_dir, &plan, out))
        }
    }
}

fn look(dir: &Path, command: Look) -> Result<(), String> {
    logs::start(None)?;
    judged(dir, inspect::run(dir, command, &mut std::io::stdout().lock()))
}

fn judged(dir: &Path, looked: Result<bool, inspect::Error>) -> Result<(), String> {
    match looked {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} is damaged; see above", dir.display())),
        Err(error) => Err(chain(&error)),
    }
}
