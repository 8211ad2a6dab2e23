//! Every command that `docs/BACKUP.md` shows does what it says there.

use std::process::Command;

use super::{Room, with_records};

const PAGE: &str = include_str!("../../docs/BACKUP.md");

#[test]
fn the_documented_commands_work_in_their_order() {
    let Some((mut server, mut client)) = with_records(&[]) else { return };
    let room = Room::new();
    let mut commands = Vec::new();
    let mut is_shell = false;
    for line in PAGE.lines() {
        match line {
            "```sh" => is_shell = true,
            "```" => is_shell = false,
            line if is_shell => commands.push(line),
            _ => {}
        }
    }
    assert!(commands.len() >= 5, "{commands:?}");
    let path = format!(
        "{}:{}",
        std::path::Path::new(env!("CARGO_BIN_EXE_thalweg")).parent().expect("has one").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let data_dir = server.data_dir();
    for command in commands {
        client.append_bodies("s", &["meanwhile"]);
        let command = command
            .replace("/var/lib/thalweg-new", &room.at("new"))
            .replace("/var/lib/thalweg", data_dir.to_str().expect("UTF-8"))
            .replace("/backup/", &room.at(""));
        let output = Command::new("sh").args(["-c", &command]).env("PATH", &path).output();
        let output = output.expect("a shell can be run");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&said));
    }
    server.terminate();
    let restored = std::path::PathBuf::from(room.at("new"));
    std::fs::remove_dir_all(&data_dir).expect("removed");
    std::fs::rename(restored, &data_dir).expect("renamed");
    server.restart();
    let basin = client.basin().to_owned();
    let bodies = server.client().in_basin(&basin).read_bodies("s", "seq_num=0&count=2");
    assert_eq!(bodies, ["first", "second"]);
}
