//! A file system in memory whose power can be cut.
//!
//! What was written and not synced is kept aside; on a cut it is lost, kept or torn, by a seed
//! (`file` and `names` say what may happen). It is mounted through FUSE, so a program under test
//! uses it as it is shipped, with its own way through the kernel: `O_DIRECT`, io_uring, `flock`.
//!
//! Commands are lines on standard input, each with one line of answer on standard output:
//!
//! ```text
//! cut SEED                    takes the power: decides what survives, answers nobody any more
//! off                         gives an error to all who wait (kill them first)
//! on                          gives power again
//! fault eio on|off            syncs fail; what they covered is in part lost for ever
//! fault eio-writes on|off     writes fail; a beginning of each may be there all the same
//! fault eio-reads on|off      reads fail
//! fault enospc on|off         nothing finds room that has none yet
//! fault lie on|off            syncs of files succeed and do nothing
//! fault lie-names on|off      syncs of directories do the same
//! fault delay WRITE SYNC      longest time of a write and of a sync, in microseconds
//! fault delay-reads READ       longest time of a read, in microseconds
//! stats                       what was done and what cuts did, since the start
//! quit                        unmounts; the end of the input does the same
//! ```
//!
//! The seed of a cut and the un-synced changes that it meets decide what is left. Which changes
//! those are depends on timing, which no seed decides.

mod content;
mod dice;
mod disk;
mod file;
mod loss;
mod mount;
mod names;
mod power;

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use fuser::{Config, MountOption};

use crate::mount::Mounted;
use crate::power::Power;

/// Requests that may take their time side by side.
const THREADS: usize = 8;

/// A file system in memory whose power can be cut; commands come on standard input
#[derive(Debug, Parser)]
struct Arguments {
    /// An empty directory to mount it at
    mountpoint: PathBuf,
    /// Decides how long operations take and what failed syncs drop
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let power = Arc::new(Power::new(arguments.seed));
    match serve(&arguments, &power) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("power-disk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments, power: &Arc<Power>) -> io::Result<()> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("power-disk".to_owned())];
    config.n_threads = Some(THREADS);
    let mounted = Mounted(Arc::clone(power));
    let session = fuser::spawn_mount(mounted, &arguments.mountpoint, &config)?;
    println!("mounted");
    let served = obey(power);
    // Nobody who still waits may hold up the end.
    power.off();
    session.umount_and_join()?;
    served
}

fn obey(power: &Power) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["quit"] {
            break;
        }
        let answer = command(power, &words).unwrap_or_else(|| format!("unknown command: {line}"));
        println!("{answer}");
        io::stdout().flush()?;
    }
    Ok(())
}

/// Carries out one command; nothing when it is none.
fn command(power: &Power, words: &[&str]) -> Option<String> {
    let ok = || Some("ok".to_owned());
    match words {
        ["cut", seed] => {
            let tally = power.cut(seed.parse().ok()?);
            return Some(tally.to_string());
        }
        ["off"] => power.off(),
        ["on"] => power.on(),
        ["stats"] => {
            return Some(power.with(|state| {
                let held_bytes = state.disk.held_bytes();
                format!("{} {} held_bytes={held_bytes}", state.tally, state.work)
            }));
        }
        ["fault", "delay", write_us, sync_us] => {
            let (write_us, sync_us) = (write_us.parse().ok()?, sync_us.parse().ok()?);
            power.with(|state| {
                state.faults.write_us_max = write_us;
                state.faults.sync_us_max = sync_us;
            });
        }
        ["fault", "delay-reads", read_us] => {
            let read_us = read_us.parse().ok()?;
            power.with(|state| state.faults.read_us_max = read_us);
        }
        ["fault", kind, switch] => {
            let is_on = match *switch {
                "on" => true,
                "off" => false,
                _ => return None,
            };
            power.with(|state| {
                match *kind {
                    "eio" => state.faults.sync_fails = is_on,
                    "eio-writes" => state.faults.write_fails = is_on,
                    "eio-reads" => state.faults.read_fails = is_on,
                    "enospc" => state.disk.is_full = is_on,
                    "lie" => state.faults.sync_lies = is_on,
                    "lie-names" => state.faults.names_lie = is_on,
                    _ => return None,
                }
                Some(())
            })?;
        }
        _ => return None,
    }
    ok()
}
