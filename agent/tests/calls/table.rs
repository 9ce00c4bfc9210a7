//! A Markdown table of SPEC.

/// A table: the names of its columns, and its rows.
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    /// The table between two marker comments like this one.
    pub(crate) fn between(text: &str, marker: &str) -> Table {
        let parts: Vec<&str> = text.split(marker).collect();
        assert_eq!(parts.len(), 3, "{marker} stands before and after its table");
        let cells = |line: &str| -> Vec<String> {
            let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
            inner.split('|').map(|c| c.trim().to_owned()).collect()
        };
        let mut lines = parts[1].lines().filter(|l| !l.trim().is_empty()).map(cells);
        let head = lines.next().expect("a head");
        let rule = lines.next().expect("a rule under the head");
        assert!(rule.iter().all(|c| c.starts_with("---")), "{rule:?}");
        let rows: Vec<_> = lines
            .map(|row| {
                assert_eq!(row.len(), head.len(), "cells of {row:?}");
                (row[0].clone(), row[1..].to_vec())
            })
            .collect();
        Table {
            columns: head[1..].to_vec(),
            rows,
        }
    }

    /// The names of the rows.
    pub(crate) fn rows(&self) -> Vec<&str> {
        self.rows.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// What a cell says.
    pub(crate) fn cell(&self, row: &str, column: &str) -> &str {
        let at = self.columns.iter().position(|c| c == column);
        let (_, cells) = self
            .rows
            .iter()
            .find(|(name, _)| name == row)
            .expect("a row");
        &cells[at.expect("a column")]
    }
}
