//! Aligned text.

use std::io::Write;

/// Rows of cells under headings. Cells are aligned to the right, but for those of the columns
/// whose heading starts with `<`.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    left: Vec<bool>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        let left = headings.iter().map(|h| h.starts_with('<')).collect();
        let texts = headings.iter().map(|h| h.trim_start_matches('<').to_owned()).collect();
        Self { rows: vec![texts], left }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.left.len());
        self.rows.push(row);
    }

    /// Writes the headings and rows; nothing when there are no rows.
    pub(super) fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.rows.len() == 1 {
            return Ok(());
        }
        let width = |column: usize| self.rows.iter().map(|r| r[column].chars().count()).max();
        let widths: Vec<usize> = (0..self.left.len()).map(|c| width(c).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), left) in row.iter().zip(&widths).zip(&self.left) {
                line.push_str("  ");
                let pad = " ".repeat(width - cell.chars().count());
                let parts = if *left { [cell.as_str(), &pad] } else { [&pad, cell.as_str()] };
                parts.iter().for_each(|part| line.push_str(part));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)
    }
}

/// A time in microseconds since the Unix epoch, as RFC 3339 has it.
pub(super) fn time(us: u64) -> String {
    let stamp = i64::try_from(us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    stamp.map_or_else(|| format!("{us} us"), |stamp| stamp.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_their_widest_cell() {
        let mut table = Table::new(&["<NAME", "BYTES", "<STATE"]);
        table.push(vec!["a".into(), "12345678".into(), "x".into()]);
        table.push(vec!["日本語".into(), "9".into(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "  NAME     BYTES  STATE\n  a     12345678  x\n  日本語          9\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_table_without_rows_is_not_shown() {
        let mut out = Vec::new();
        Table::new(&["A"]).write(&mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn times_are_readable_and_absurd_ones_do_no_harm() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_700_000_000_000_001), "2023-11-14T22:13:20.000001Z");
        assert_eq!(time(u64::MAX), "18446744073709551615 us");
    }
}
