//! Tables of text, for people and as CSV.

use std::io::{self, Write};

use crate::Error;

/// How a column is set.
#[derive(Clone, Copy)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. A name that starts with `<` is a column of words; the sign is not shown.
    pub fn new(columns: &[&'static str]) -> Self {
        let columns = columns.iter().map(|name| match name.strip_prefix('<') {
            Some(name) => (name, Align::Left),
            None => (*name, Align::Right),
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row, which has a cell for each column.
    pub fn push(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Keeps the first `count` rows.
    pub fn truncated(mut self, count: usize) -> Self {
        self.rows.truncate(count);
        self
    }

    /// Prints a title, the heading and the rows, then an empty line.
    pub fn print(&self, title: &str, out: &mut impl Write) -> io::Result<()> {
        let heading: Vec<String> = self.columns.iter().map(|(name, _)| (*name).into()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| self.rows.iter().chain([&heading]).map(|row| row[i].chars().count()).max().unwrap_or(0))
            .collect();
        writeln!(out, "{title}")?;
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        for row in [&heading, &rule].into_iter().chain(&self.rows) {
            let cells = row.iter().zip(&widths).zip(&self.columns).map(|((cell, &width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        writeln!(out)
    }

    /// The table as CSV.
    pub fn to_csv(&self) -> Result<Vec<u8>, Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|(name, _)| *name))?;
        self.rows.iter().try_for_each(|row| writer.write_record(row))?;
        Ok(writer.into_inner().map_err(|error| error.into_error())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["<name", "n"]);
        table.push(vec!["a".into(), "1".into()]);
        table.push(vec!["long, name".into(), "100".into()]);
        let mut out = Vec::new();
        table.print("Title", &mut out).unwrap();
        let expected = "Title\nname          n\n----------  ---\na             1\nlong, name  100\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(table.to_csv().unwrap(), b"name,n\na,1\n\"long, name\",100\n");
    }
}
