//! `bucket-proxy --to ADDR [--faces N] [--seed S]`: see the library.
//!
//! Prints where it listens, one line each (`face 0 ADDR`, ..., `front ADDR`, `control ADDR`), then
//! serves until its standard input ends, at the latest for two hours.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bucket_proxy::control::Control;
use bucket_proxy::face::{Bucket, Face};
use bucket_proxy::front::Front;

const USAGE: &str = "usage: bucket-proxy --to ADDR [--faces N] [--seed S]";
const LIFETIME_MAX: Duration = Duration::from_secs(7200);
const FACES_MAX: u64 = 64;

struct Options {
    to: String,
    faces: u64,
    seed: u64,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { to: String::new(), faces: 2, seed: 1 };
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name}: cannot use {value:?}"));
        match name.as_str() {
            "--to" => options.to = value,
            "--faces" => options.faces = number()?,
            "--seed" => options.seed = number()?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    if options.to.is_empty() || options.faces > FACES_MAX {
        return Err(format!("--to is needed, and at most {FACES_MAX} faces"));
    }
    Ok(options)
}

fn run(options: &Options) -> io::Result<()> {
    let bucket = Bucket::new(&options.to);
    let mut faces = Vec::new();
    for number in 0..options.faces {
        let face = Face::start(&bucket, options.seed.wrapping_add(number))?;
        println!("face {number} {}", face.address());
        faces.push(face);
    }
    let front = Front::start()?;
    println!("front {}", front.address());
    println!("control {}", Control { faces, front }.start()?);
    // A thread of its own, because a blocked read cannot be given up.
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    thread::sleep(LIFETIME_MAX);
    Ok(())
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bucket-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}
