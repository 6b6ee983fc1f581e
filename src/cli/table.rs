//! Tables for people: a state in its colour, then columns. They have no borders, so that they are easy to copy. On a
//! terminal a row never takes more than one line: long texts are shortened, but not below what can be read; then the
//! least useful columns are left out. In a pipe every column has all of its text.

use comfy_table::{ColumnConstraint, Row, Table as Layout, Width};

use super::output::{bold, painted};
use super::{CliError, Output};
use crate::model::visible;

/// Columns between two columns of text.
const GAP: usize = 2;

/// One column of a table.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    /// On a narrow terminal the column of the highest rank is left out first. One of rank 0 always stays.
    pub(crate) rank: u8,
    /// The widths of a text that may be shortened: below the first nobody can read it, and with the second nearly
    /// everybody can. `None` for a short value that is shown whole.
    pub(crate) shortened: Option<(usize, usize)>,
}

impl Column {
    /// A column of short values.
    pub(crate) const fn value(head: &'static str, rank: u8) -> Self {
        Self { head, rank, shortened: None }
    }

    /// A column of texts, at least `least` wide if they are that long; `good` is wide enough for most of them.
    pub(crate) const fn text(head: &'static str, rank: u8, (least, good): (usize, usize)) -> Self {
        Self { head, rank, shortened: Some((least, good)) }
    }
}

/// Rows whose first column is a state.
pub(crate) struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table. The first column is that of the states.
    pub(crate) fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
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
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let mut layout = Layout::new();
        layout.load_style(comfy_table::presets::NOTHING);
        let mut head = Row::from(self.columns.iter().map(|column| column.head).collect::<Vec<_>>());
        head.max_height(1);
        layout.set_header(head);
        for cells in &self.rows {
            let mut row = Row::from(cells.iter().map(|cell| one_line(cell)).collect::<Vec<_>>());
            row.max_height(1);
            layout.add_row(row);
        }
        let natural = layout.column_max_content_widths().into_iter().map(usize::from).collect();
        let widths = self.widths(natural, width);
        for (column, width) in layout.column_iter_mut().zip(widths) {
            column.set_padding((0, GAP as u16));
            // No cell has this character, so a text is cut where the room ends, and not before a long word.
            column.set_delimiter('\0');
            let fixed = |width: usize| Width::Fixed(u16::try_from(width + GAP).unwrap_or(u16::MAX));
            column.set_constraint(match width {
                Some(width) => ColumnConstraint::Absolute(fixed(width)),
                None => ColumnConstraint::Hidden,
            });
        }
        layout.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The width of each column, `None` for one that is left out. `natural` is what each would take.
    fn widths(&self, natural: Vec<usize>, limit: Option<usize>) -> Vec<Option<usize>> {
        let Some(limit) = limit else { return natural.into_iter().map(Some).collect() };
        let least = |at: usize| self.columns[at].shortened.map_or(natural[at], |(least, _)| least.min(natural[at]));
        let mut shown: Vec<usize> = (0..natural.len()).collect();
        let taken = |shown: &[usize], width: &dyn Fn(usize) -> usize| {
            shown.iter().map(|at| width(*at) + GAP).sum::<usize>().saturating_sub(GAP)
        };
        // Columns are left out only if there is no room even with every text shortened.
        while taken(&shown, &least) > limit
            && let Some(last) = shown.iter().copied().filter(|at| self.rank(*at) > 0).max_by_key(|at| self.rank(*at))
        {
            shown.retain(|at| *at != last);
        }
        let mut widths: Vec<Option<usize>> = vec![None; natural.len()];
        shown.iter().for_each(|at| widths[*at] = Some(least(*at)));
        // The room that is left goes to the texts, the most useful first: what they need as a rule, then the rest.
        let mut left = limit.saturating_sub(taken(&shown, &least));
        shown.sort_by_key(|at| self.rank(*at));
        for is_generous in [false, true] {
            for at in &shown {
                let Some((_, good)) = self.columns[*at].shortened else { continue };
                let wanted = if is_generous { natural[*at] } else { good.min(natural[*at]) };
                if let Some(width) = &mut widths[*at] {
                    let more = wanted.saturating_sub(*width).min(left);
                    *width += more;
                    left -= more;
                }
            }
        }
        // On an absurdly narrow terminal the texts that stay give all they have.
        let mut over = taken(&shown, &least).saturating_sub(limit);
        for at in shown.iter().filter(|at| self.columns[**at].shortened.is_some()) {
            if let Some(width) = &mut widths[*at] {
                let less = over.min(width.saturating_sub(1));
                *width -= less;
                over -= less;
            }
        }
        widths
    }

    /// The rank of a column. A text that is the same in all rows tells nothing, and goes first.
    fn rank(&self, at: usize) -> u8 {
        let Column { rank, shortened, .. } = &self.columns[at];
        let mut cells = self.rows.iter().filter_map(|row| row.get(at));
        let first = cells.next();
        let is_same = self.rows.len() > 1 && shortened.is_some() && cells.all(|cell| Some(cell) == first);
        if is_same && *rank > 0 { u8::MAX } else { *rank }
    }
}

/// Returns text of others as a row may have it: on one line, and harmless to a terminal.
pub(crate) fn one_line(text: &str) -> String {
    visible(text)
}

/// Splits a text of several lines, such as the mistakes of a task file, into its first line and the others.
pub(crate) fn first_line(text: &str) -> (String, Vec<String>) {
    let mut lines = text.lines().map(one_line);
    (lines.next().unwrap_or_default(), lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;

    const COLUMNS: &[Column] = &[
        Column::value("STATE", 0),
        Column::value("BUILD", 0),
        Column::text("SUBJECT", 0, (10, 30)),
        Column::text("BRANCH", 1, (8, 12)),
        Column::value("COMMIT", 2),
    ];

    fn table() -> Table {
        let mut table = Table::new(COLUMNS);
        let row = |cells: [&str; 5]| cells.map(str::to_owned).into();
        let long = "A subject that is rather long, as subjects go";
        table.row(row(["passed", "b1", long, "feature/with-a-long-name", "4f2a91c"]));
        table.row(row(["running", "b12", "Short\x1b[2J", "main", "0d9e7c1"]));
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_moves_the_cursor() {
        let collected = Collected::default();
        table().print(&mut collected.output()).unwrap();
        let text = collected.text();
        let lines: Vec<&str> = text.lines().collect();
        let column = |line: &str, text| line.split(text).next().map(|before| before.chars().count());
        assert_eq!(column(lines[0], "BRANCH"), column(lines[2], "main"));
        assert!(lines[1].contains("A subject that is rather long, as subjects go  feature/with-a-long-name  4f2a91c"));
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn texts_are_shortened_first_and_then_the_least_useful_column_is_left_out() {
        let at = |width| table().lines(Some(width));
        assert_eq!(at(64)[1], "passed   b1     A subject that is rather lon…  feature…  4f2a91c");
        assert_eq!(at(44)[0], "STATE    BUILD  SUBJECT             BRANCH");
        assert_eq!(at(30)[0], "STATE    BUILD  SUBJECT");
        for width in [20, 24, 30, 40, 44, 50, 64, 80, 200] {
            let lines = at(width);
            assert_eq!(lines.len(), 3);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
        }
        // Even if absurdly narrow, each row has its line.
        assert_eq!(table().lines(Some(3)).len(), 3);
    }

    #[test]
    fn a_column_that_tells_nothing_goes_first() {
        let mut table = Table::new(COLUMNS);
        for number in ["b1", "b2"] {
            table.row(["passed", number, "A subject that fills its room", "main", "4f2a91c"].map(str::to_owned).into());
        }
        assert!(table.lines(Some(40))[0].ends_with("COMMIT"), "{:?}", table.lines(Some(40)));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new(COLUMNS);
        let subject = "\u{65e5}\u{672c}\u{8a9e}".repeat(9);
        table.row(["passed", "b1", &subject, "main", "4f2a91c"].map(str::to_owned).into());
        let lines = table.lines(Some(60));
        // Two columns for each of these characters, one for all others.
        let wide = lines[1].chars().filter(|c| ('\u{3000}'..'\u{a000}').contains(c)).count();
        assert!(wide > 5 && lines[1].chars().count() + wide <= 60, "{lines:?}");
        assert!(lines[1].contains('…') && lines[1].ends_with("4f2a91c"), "{lines:?}");
    }
}
