//! The `thalweg` binary: parses the command line, starts the cores, waits for a signal; no logic.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thalweg::config::{Given, Settings};
use thalweg::serve::serve;
use thalweg::types::refusal::chain;
use tracing_subscriber::EnvFilter;

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
    },
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("THALWEG_LOG");
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("warn,thalweg=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
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
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let cores = u16::try_from(cores.min(1024)).expect("at most 1024");
            let settings = Settings::from(given.or(file), cores);
            serve(&settings.map_err(|e| e.to_string())?, cores)
        }
    }
}
