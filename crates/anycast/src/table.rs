//! Tables for people: plain columns, no borders, as BIRD and gobgp print them.

/// The space between columns.
const GAP: usize = 2;

/// Rows that are printed together: their columns are aligned with each other.
const PAGE: usize = 1000;

/// Prints rows under headings; a cell that is empty shows as a dash.
pub(crate) fn print(headings: &[&str], rows: Vec<Vec<String>>) {
    println!("{}", render(headings, rows));
}

/// What [`print`] prints.
pub(crate) fn render(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut widths = vec![0; headings.len()];
    let head = headings.iter().map(ToString::to_string).collect();
    aligned(std::iter::once(head).chain(rows).collect(), &mut widths)
}

/// Lines whose columns are at least so wide; the widths grow with them.
fn aligned(rows: Vec<Vec<String>>, widths: &mut [usize]) -> String {
    let dashed = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
    let lines: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.into_iter().map(dashed).collect()).collect();
    for line in &lines {
        for (cell, width) in line.iter().zip(widths.iter_mut()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines = lines.iter().map(|line| {
        let cells =
            line.iter().zip(&*widths).map(|(cell, width)| format!("{cell:<0$}", width + GAP));
        cells.collect::<String>().trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A table of any length, printed as it grows; its columns never get narrower.
pub(crate) struct Growing {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Growing {
    pub(crate) fn new(headings: &[&str]) -> Self {
        let head = headings.iter().map(ToString::to_string).collect();
        Self { widths: vec![0; headings.len()], rows: vec![head] }
    }

    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
        if self.rows.len() >= PAGE {
            println!("{}", self.page());
        }
    }

    /// Prints what was not printed yet.
    pub(crate) fn end(mut self) {
        if !self.rows.is_empty() {
            println!("{}", self.page());
        }
    }

    fn page(&mut self) -> String {
        aligned(std::mem::take(&mut self.rows), &mut self.widths)
    }
}

/// Text that others may have had a hand in, without what a terminal would act upon.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A time span as operators read it: `4.2s`, `3m12s`, `2h05m`, `3d04h`.
pub(crate) fn span(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "spans are positive and far below 2^64 seconds"
    )]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86400, whole % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well_at_every_size() {
        for (seconds, want) in [
            (0.0, "0.0s"),
            (59.94, "59.9s"),
            (60.0, "1m00s"),
            (3599.0, "59m59s"),
            (7500.0, "2h05m"),
            (273_700.0, "3d04h"),
        ] {
            assert_eq!(span(seconds), want);
        }
    }

    #[test]
    fn columns_are_aligned_and_empty_cells_are_dashes() {
        let rows = vec![vec!["fra".into(), String::new()], vec!["nyc-east".into(), "up".into()]];
        assert_eq!(render(&["SITE", "STATE"], rows), "SITE      STATE\nfra       -\nnyc-east  up");
    }

    #[test]
    fn a_growing_table_gets_wider_and_never_narrower() {
        let mut table = Growing::new(&["SITE", "STATE"]);
        table.add(vec!["fra".into(), String::new()]);
        assert_eq!(table.page(), "SITE  STATE\nfra   -");
        table.add(vec!["nyc-east".into(), "up".into()]);
        assert_eq!(table.page(), "nyc-east  up");
        table.add(vec!["fra".into(), "up".into()]);
        assert_eq!(table.page(), "fra       up");
    }
}
