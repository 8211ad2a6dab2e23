//! What an operator can do about damage: give up what is lost, and have the rest read again.

use std::fs;

use serde_json::json;

use crate::common::client::fresh_basin_on;
use crate::common::server::Server;

/// Where the one block on disk is that holds a word: file name and offset.
fn block_with(server: &Server, word: &[u8]) -> (String, usize) {
    let mut found = Vec::new();
    for entry in fs::read_dir(server.data_dir().join("shard-0")).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        let bytes = fs::read(entry.path()).expect("the file can be read");
        let blocks = bytes.chunks(4096).enumerate();
        let hits = blocks.filter(|(_, block)| block.windows(word.len()).any(|b| b == word));
        found.extend(hits.map(|(block, _)| (name.clone(), block * 4096)));
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Flips a bit `at` bytes into the block that holds a word; returns `FILE:OFFSET` of the block.
fn damage(server: &Server, word: &[u8], at: usize) -> String {
    let (name, offset) = block_with(server, word);
    let path = server.data_dir().join("shard-0").join(&name);
    let mut bytes = fs::read(&path).expect("the segment can be read");
    bytes[offset + at] ^= 1;
    fs::write(&path, bytes).expect("the segment can be written");
    format!("{name}:{offset}")
}

/// Damage in the header and in the payload of a record's frame.
const PLACES: [usize; 2] = [20, 70];

#[test]
fn reads_pass_over_what_was_given_up_and_nothing_else() {
    for at in PLACES {
        let Some(mut server) = Server::start_with(1, &[]) else { return };
        let mut client = fresh_basin_on(&server, &json!(null));
        let basin = client.basin().to_owned();
        client.create_stream("s");
        client.create_stream("ends");
        for body in ["first", "needle", "third"] {
            client.append_bodies("s", &[body]);
        }
        client.append_bodies("ends", &["kept"]);
        client.append_bodies("ends", &["haystack"]);
        client.append_bodies("s", &["fourth"]);
        let (status, said) = server.repair(&[]);
        assert!(!status.success() && said.contains("another server uses"), "{said}");
        server.terminate();
        let places = [damage(&server, b"needle", at), damage(&server, b"haystack", at)];
        server.restart();
        client = server.client().in_basin(&basin);
        client.read("s", "seq_num=0").refused(500, "storage");
        server.terminate();

        let (status, said) = server.repair(&["--dry-run"]);
        assert!(!status.success(), "{said}");
        for expected in [
            format!("damaged at {}", places[0]),
            format!("{basin}/s: records 1 to 1 may have been there"),
            format!("{basin}/ends: records 1 to 1 may have been there"),
        ] {
            assert!(said.contains(&expected), "{expected}: {said}");
        }
        for place in &places {
            let (_, said) = server.repair(&["--quarantine", place]);
            assert!(said.contains("given up; the bytes are in quarantine/shard-0-"), "{said}");
        }
        let (status, said) = server.repair(&[]);
        assert!(status.success() && said.contains("0 damaged places, 2 more"), "{said}");

        server.restart();
        client = server.client().in_basin(&basin);
        assert_eq!(client.read_seq_nums("s", "seq_num=0"), [0, 2, 3], "at {at}");
        assert_eq!(client.read_bodies("s", "seq_num=1"), ["third", "fourth"], "at {at}");
        assert_eq!(client.read_bodies("s", "timestamp=0"), ["first", "third", "fourth"]);
        assert_eq!(client.read_bodies("ends", "seq_num=0"), ["kept"], "at {at}");
        client.read("ends", "seq_num=1").is(200, &json!({ "records": [] }));
        assert_eq!(client.tail_seq_num("ends"), 2, "numbers are not given out again");
        client.append_bodies("ends", &["after"]);
        assert_eq!(client.read_seq_nums("ends", "seq_num=0"), [0, 2]);
        server.kill();
        let (status, said) = server.verify();
        assert!(status.success() && said.contains("2 places in quarantine"), "{said}");

        // Other damage is damage as before.
        damage(&server, b"third", at);
        server.restart();
        client = server.client().in_basin(&basin);
        client.read("s", "seq_num=0").refused(500, "storage");
        server.terminate();
        let list = server.data_dir().join("shard-0/quarantine");
        let text = fs::read_to_string(&list).expect("the list can be read");
        fs::write(&list, text.replacen("\"end_offset\": ", "\"end_offset\": 9", 1))
            .expect("written");
        let (status, said) = server.start_rival();
        assert!(status.is_some_and(|status| !status.success()), "{status:?} {said}");
        assert!(said.contains("quarantine is damaged"), "{said}");
    }
}
