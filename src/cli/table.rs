//! Tables for people: a state in its colour, then columns. They have no borders, so that they are easy to copy. On a
//! terminal a row never takes more than one line.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table as Layout};

use super::output::{bold, painted};
use super::{CliError, Output};

/// Rows whose first column is a state.
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Columns that are shortened if the terminal is narrow.
    flexible: &'static [usize],
}

impl Table {
    /// Makes an empty table. `heads[0]` is the heading of the states.
    pub(crate) fn new(heads: &[&'static str], flexible: &'static [usize]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new(), flexible }
    }

    /// Adds a row; `cells[0]` is its state.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints the table.
    pub(crate) fn print(&self, out: &mut Output) -> Result<(), CliError> {
        for (index, line) in self.lines(out.width()).iter().enumerate() {
            let state = index.checked_sub(1).and_then(|row| self.rows.get(row)).and_then(|row| row.first());
            match state {
                None => out.line(bold(line))?,
                // Colour codes have no width, so they are added after the layout.
                Some(state) => match line.strip_prefix(state.as_str()) {
                    Some(rest) => out.line(format_args!("{}{rest}", painted(state)))?,
                    None => out.line(line)?,
                },
            }
        }
        Ok(())
    }

    /// Lays out the heading and the rows, one line each. Fits them into `width` columns if there is such a limit.
    fn lines(&self, width: Option<usize>) -> Vec<String> {
        let mut layout = Layout::new();
        layout.load_style(comfy_table::presets::NOTHING);
        if let Some(width) = width {
            layout.set_content_arrangement(ContentArrangement::Dynamic);
            layout.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        }
        let mut head = Row::from(self.heads.clone());
        head.max_height(1);
        layout.set_header(head);
        for cells in &self.rows {
            let mut row = Row::from(cells.iter().map(|cell| one_line(cell)).collect::<Vec<_>>());
            row.max_height(1);
            layout.add_row(row);
        }
        for (index, column) in layout.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if !self.flexible.contains(&index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        layout.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// Replaces control characters in text from commits and runners, which could move the cursor or break the row.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;

    fn table() -> Table {
        let mut table = Table::new(&["STATE", "BUILD", "SUBJECT"], &[2]);
        table.row(vec!["passed".into(), "b1".into(), "A subject that is rather long, as subjects go".into()]);
        table.row(vec!["running".into(), "b12".into(), "Short\x1b[2J".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_moves_the_cursor() {
        let collected = Collected::default();
        table().print(&mut collected.output()).unwrap();
        assert_eq!(
            collected.text(),
            "STATE    BUILD  SUBJECT\n\
             passed   b1     A subject that is rather long, as subjects go\n\
             running  b12    Short [2J\n"
        );
    }

    #[test]
    fn a_narrow_terminal_shortens_what_may_be_short() {
        let lines = table().lines(Some(40));
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
        assert!(lines[1].starts_with("passed   b1     A subject"), "{lines:?}");
        // Even if absurdly narrow, each row has its line.
        assert_eq!(table().lines(Some(3)).len(), 3);
    }
}
