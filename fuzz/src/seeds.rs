//! What fuzzing starts from: a few inputs for each target that reach each of its parts, so that a
//! mutation begins deep inside. `src/bin/seed.rs` writes them into `corpus/`.

mod disk;
mod http;
mod representations;

/// The inputs that the target `name` starts from.
///
/// # Panics
///
/// For a name that is no target's, and when the golden files cannot be read.
pub fn of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "http1_head" => http::heads(),
        "http1_conn" => http::pipelines(),
        "chunked" => http::chunked(),
        "path_query" => http::requests(),
        "json_append" => representations::json(),
        "proto_append" => representations::proto(),
        "s2s_frames" => representations::s2s(),
        "usage_saved" => representations::usage(),
        "directory" => representations::directory(),
        "log_entries" => disk::payloads(),
        "log_frame" => disk::logs(),
        "checkpoint" => disk::checkpoints(),
        "shard_open" => disk::shards(),
        _ => panic!("{name} is no target"),
    }
}
