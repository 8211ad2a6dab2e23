//! Open-loop load generator for durable-streams servers.

fn main() {}
