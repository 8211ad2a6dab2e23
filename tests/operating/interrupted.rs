//! What an interrupted backup leaves: a server that is well, and nothing that looks like a backup.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{Room, back_up, files_below, restart_from, thalweg, with_records};
use crate::common::{EVENTUALLY_WAIT, poll};

#[test]
fn a_copier_that_is_killed_leaves_the_server_well_and_no_backup() {
    let Some((mut server, mut client)) = with_records(&[]) else { return };
    let room = Room::new();
    let large = "x".repeat(900_000);
    (0..10).for_each(|_| drop(client.append_bodies("s", &[&large])));
    let data_dir = server.data_dir();
    for files in 0..4 {
        let to = room.at(&format!("killed-{files}"));
        let incomplete = room.at(&format!("killed-{files}.incomplete"));
        let mut copier = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["backup", "--bytes-per-sec", "500000", "--data-dir"])
            .arg(&data_dir)
            .args(["--to", &to])
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary can be run");
        let is_far_enough = || {
            let is_begun = Path::new(&incomplete).exists();
            let ended = copier.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "it ended early: {ended:?}");
            (is_begun && files_below(Path::new(&incomplete)).len() >= files).then_some(())
        };
        poll(EVENTUALLY_WAIT, is_far_enough).expect("it makes files");
        let (ended_well, said) = thalweg(&[
            "backup",
            "--data-dir",
            data_dir.to_str().expect("UTF-8"),
            "--to",
            &room.at("other"),
        ]);
        let is_told = said.contains("another backup") && !Path::new(&room.at("other")).exists();
        assert!(files == 0 || (!ended_well && is_told), "{said}");
        copier.kill().expect("it can be killed");
        copier.wait().expect("it can be waited for");
        if files == 0 && Path::new(&room.at("other")).exists() {
            std::fs::remove_dir_all(room.at("other")).expect("removed");
        }

        client.append_bodies("s", &["after"]);
        assert!(!Path::new(&to).exists(), "it is no backup");
        let (ended_well, said) = thalweg(&["restore", "--check", "--from", &incomplete]);
        assert!(!ended_well && said.contains("is no complete backup"), "{said}");
        let (ended_well, said) =
            thalweg(&["backup", "--data-dir", data_dir.to_str().expect("UTF-8"), "--to", &to]);
        assert!(!ended_well && said.contains("not finished"), "{said}");
    }
    // The pin went with the copier.
    let whole = room.at("whole");
    back_up(&server, &whole, &[]);
    let tail = client.tail_seq_num("s");
    let basin = client.basin().to_owned();
    restart_from(&mut server, &whole);
    assert_eq!(server.client().in_basin(&basin).tail_seq_num("s"), tail);
}

/// As a full disk does it, a limit on the length of files ends a write with an error.
#[test]
fn a_destination_that_takes_no_more_ends_the_backup_and_is_cleared() {
    let Some((server, mut client)) = with_records(&[]) else { return };
    let room = Room::new();
    let large = "x".repeat(900_000);
    (0..6).for_each(|_| drop(client.append_bodies("s", &[&large])));
    let to = room.at("backup");
    let script = r#"trap '' XFSZ; ulimit -f 2048; exec "$@""#;
    let output = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_thalweg"), "backup", "--data-dir"])
        .arg(server.data_dir())
        .args(["--to", &to])
        .output()
        .expect("a shell can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("segment-") && said.contains("File too large"), "{said}");
    let left = std::fs::read_dir(&room.0).expect("a directory").count();
    assert_eq!(left, 0, "what was made is removed");
    client.append_bodies("s", &["after"]);
    back_up(&server, &to, &[]);
}

/// A server uses a segment again all the same when its disk is full: its header changes first.
#[test]
fn a_segment_that_is_used_again_while_it_is_copied_ends_the_backup() {
    let Some((mut server, mut client)) = with_records(&[]) else { return };
    let room = Room::new();
    let large = "x".repeat(900_000);
    (0..10).for_each(|_| drop(client.append_bodies("s", &[&large])));
    server.terminate();
    let (to, incomplete) = (room.at("backup"), room.at("backup.incomplete"));
    let copier = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        // Slow enough to be met half way.
        .args(["backup", "--bytes-per-sec", "1000000", "--data-dir"])
        .arg(server.data_dir())
        .args(["--to", &to])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be run");
    let copy_root = Path::new(&incomplete).join("data");
    // A copy gets its full length last, before what was copied is looked at once more.
    let half_copied = || {
        files_below(&copy_root).into_iter().find_map(|copy| {
            let within = copy.strip_prefix(&copy_root).expect("below it");
            let source = server.data_dir().join(within);
            let is_segment = within.file_name()?.to_str()?.starts_with("segment-");
            let bytes = copy.metadata().ok()?.len();
            (is_segment && 0 < bytes && bytes < source.metadata().ok()?.len()).then_some(source)
        })
    };
    let copied = poll(EVENTUALLY_WAIT, || {
        half_copied()?;
        // It stands still from the look that counts to the write.
        stop(&copier);
        half_copied().or_else(|| {
            signal(&copier, Signal::CONT);
            None
        })
    });
    let copied = copied.expect("it copies a segment");
    let file = std::fs::File::options().write(true).open(copied);
    file.expect("the segment is opened").write_all_at(&[0; 64], 0).expect("written");
    signal(&copier, Signal::CONT);
    let output = copier.wait_with_output().expect("it can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("was used again"), "{said}");
    assert_eq!(std::fs::read_dir(&room.0).expect("a directory").count(), 0);
}

/// Stops a process, and waits until it stands still.
fn stop(process: &Child) {
    signal(process, Signal::STOP);
    let state = format!("/proc/{}/stat", process.id());
    let stands_still = poll(EVENTUALLY_WAIT, || {
        let state = std::fs::read_to_string(&state).expect("the process is known");
        let (_, after_name) = state.rsplit_once(')').expect("a name in brackets");
        after_name.trim_start().starts_with('T').then_some(())
    });
    stands_still.expect("it stops");
}

fn signal(process: &Child, signal: Signal) {
    kill_process(Pid::from_child(process), signal).expect("the process is ours");
}
