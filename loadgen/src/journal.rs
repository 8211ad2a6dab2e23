//! What must be remembered of an append, in memory and in a journal file.
//!
//! A journal is text: one JSON header line, then a line per append that was acknowledged (`A`) or
//! left in doubt (`I`). Appends that were refused leave no trace: they must not be in the stream.
//!
//! ```text
//! A <stream> <writer> <append> <start> <count> <hash>
//! I <stream> <writer> <append> -       <count> <hash>
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::cli::Format;
use crate::record::BatchId;

/// The fate of one append: 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fact {
    /// Names the append.
    pub(crate) id: BatchId,
    /// Records in it.
    pub(crate) count: u16,
    /// True when the server acknowledged it, false when nobody knows.
    pub(crate) is_acked: bool,
    /// Sequence number of its first record; 0 when in doubt.
    pub(crate) start: u64,
    /// Chained hash of its bodies.
    pub(crate) hash: u64,
}

const _: () = assert!(size_of::<Fact>() == 32, "the memory promised per append");

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Layout of the file; this text describes 1.
    pub(crate) version: u32,
    /// Basin of all streams.
    pub(crate) basin: String,
    /// The run that all records carry.
    pub(crate) run: u32,
    /// How bodies are represented, also for reading back.
    pub(crate) format: Format,
    /// Stream names, by index.
    pub(crate) streams: Vec<String>,
    /// Next sequence number of each stream before the run.
    pub(crate) tails: Vec<u64>,
}

/// A journal being written.
pub(crate) struct Writer {
    file: BufWriter<File>,
}

impl Writer {
    /// Creates (or empties) `path` and writes the header.
    pub(crate) fn create(path: &Path, header: &Header) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut file = BufWriter::new(file);
        writeln!(file, "{}", serde_json::to_string(header)?)?;
        // Whoever waits for the load to begin waits for this line.
        file.flush()?;
        Ok(Self { file })
    }

    /// Adds facts, given with their stream's index, and hands them to the kernel.
    pub(crate) fn add(&mut self, facts: &[(u32, Fact)]) -> Result<()> {
        for (stream, fact) in facts {
            let Fact { id, count, is_acked, start, hash } = fact;
            let (writer, batch) = (id.writer, id.batch);
            if *is_acked {
                writeln!(self.file, "A {stream} {writer} {batch} {start} {count} {hash:016x}")?;
            } else {
                writeln!(self.file, "I {stream} {writer} {batch} - {count} {hash:016x}")?;
            }
        }
        self.file.flush().context("writing the journal")
    }
}

/// Reads a whole journal: its header, and the facts of each stream.
pub(crate) fn read(path: &Path) -> Result<(Header, Vec<Vec<Fact>>)> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    parse(BufReader::new(file)).with_context(|| format!("{}", path.display()))
}

fn parse(reader: impl BufRead) -> Result<(Header, Vec<Vec<Fact>>)> {
    let mut lines = reader.lines();
    let first = lines.next().ok_or_else(|| anyhow!("empty journal"))??;
    let header: Header = serde_json::from_str(&first).context("line 1")?;
    if header.version != 1 || header.streams.len() != header.tails.len() {
        bail!("not a journal of version 1");
    }
    let mut facts = vec![Vec::new(); header.streams.len()];
    for (i, line) in lines.enumerate() {
        let line = line?;
        let (stream, fact) =
            parse_fact(&line, header.run).with_context(|| format!("line {}: {line:?}", i + 2))?;
        facts
            .get_mut(stream)
            .ok_or_else(|| anyhow!("line {}: no stream {stream}", i + 2))?
            .push(fact);
    }
    Ok((header, facts))
}

fn parse_fact(line: &str, run: u32) -> Result<(usize, Fact)> {
    let words: Vec<_> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let &[kind, stream, writer, batch, start, count, hash] = words.as_slice() else {
        bail!("want seven words");
    };
    let (is_acked, start) = match (kind, start) {
        ("A", start) => (true, start.parse()?),
        ("I", "-") => (false, 0),
        _ => bail!("neither acknowledged nor in doubt"),
    };
    let id = BatchId { run, writer: writer.parse()?, batch: batch.parse()? };
    let hash = u64::from_str_radix(hash, 16)?;
    Ok((stream.parse()?, Fact { id, count: count.parse()?, is_acked, start, hash }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: 1,
            basin: "loadgen-basin".to_owned(),
            run: 7,
            format: Format::Base64,
            streams: vec!["a".to_owned(), "b".to_owned()],
            tails: vec![0, 12],
        }
    }

    fn fact(batch: u32, is_acked: bool) -> Fact {
        let id = BatchId { run: 7, writer: 3, batch };
        let start = if is_acked { 40 } else { 0 };
        Fact { id, count: 2, is_acked, start, hash: 0xfeed_0000_0000_0001 }
    }

    #[test]
    fn a_journal_reads_back_as_it_was_written() {
        let path = std::env::temp_dir().join(format!("loadgen-journal-{}", std::process::id()));
        let mut writer = Writer::create(&path, &header()).unwrap();
        writer.add(&[(1, fact(0, true)), (0, fact(1, false))]).unwrap();
        writer.add(&[(1, fact(2, false))]).unwrap();
        let result = read(&path);
        std::fs::remove_file(&path).unwrap();
        let (read_header, facts) = result.unwrap();
        assert_eq!(read_header, header());
        assert_eq!(facts, [vec![fact(1, false)], vec![fact(0, true), fact(2, false)]]);
    }

    #[test]
    fn broken_journals_are_refused_with_their_line() {
        let good = serde_json::to_string(&header()).unwrap();
        let no_tails = good.replace("[0,12]", "[0]");
        for (text, message) in [
            (String::new(), "empty"),
            ("{}\n".to_owned(), "line 1"),
            (no_tails, "version 1"),
            (format!("{good}\nA 0 1 2 3 4\n"), "line 2"),
            (format!("{good}\nX 0 1 2 3 4 5\n"), "line 2"),
            (format!("{good}\nI 0 1 2 3 4 5\n"), "line 2"),
            (format!("{good}\nA 0 1 2 - 4 5\n"), "line 2"),
            (format!("{good}\nA 2 1 2 3 4 5\n"), "no stream 2"),
            (format!("{good}\nA 0 1 2 3 4 zz\n"), "line 2"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
