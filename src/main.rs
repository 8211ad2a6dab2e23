//! The `thalweg` binary: parses the command line and runs what it asks for; no logic.

fn main() {}
