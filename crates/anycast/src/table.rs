//! Tables for people: plain columns, no borders, as BIRD and gobgp print them.

/// The space between columns.
const GAP: usize = 2;

/// Prints rows under headings; a cell that is empty shows as a dash.
pub(crate) fn print(headings: &[&str], rows: Vec<Vec<String>>) {
    println!("{}", render(headings, rows));
}

/// What [`print`] prints.
pub(crate) fn render(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = headings.iter().map(ToString::to_string).collect();
    let rows = rows.into_iter().map(|row| {
        row.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).collect()
    });
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..headings.len()).map(|column| width(column).unwrap_or(0)).collect();
    let lines = lines.iter().map(|line| {
        let cells =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<0$}", width + GAP));
        cells.collect::<String>().trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
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
}
