//! Writes what fuzzing starts from into a directory, by target.
//!
//! Usage: seed DIRECTORY

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: seed DIRECTORY");
    let root = env::args_os().nth(1).map(PathBuf::from).ok_or_else(usage)?;
    for (name, _) in thalweg_fuzz::TARGETS {
        let directory = root.join(name);
        fs::create_dir_all(&directory)?;
        for seed in thalweg_fuzz::seeds::of(name) {
            fs::write(directory.join(format!("seed-{:08x}", crc32c::crc32c(&seed))), &seed)?;
        }
    }
    Ok(())
}
