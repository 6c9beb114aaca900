//! The closing table.

use std::time::Duration;

use crate::{measured::Measured, tally::Figures};

const HEADINGS: [&str; 9] = [
    "queue",
    "published",
    "processed",
    "dead lettered",
    "avg waiting",
    "avg processing",
    "throughput",
    "lost",
    "unexplained duplicates",
];
/// Columns that must be 0.
const MUST_BE_ZERO: [usize; 2] = [7, 8];
/// Lines of the heading.
const LINES: usize = 2;

/// One line of the table.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Name of the queue.
    pub name: String,
    /// Figures of the demo's own producers and consumers.
    pub figures: Figures,
    /// Figures of the server's sums.
    pub measured: Measured,
}

/// The rows and their sum as a table, in colour for a terminal.
pub fn table(rows: &[Row], colour: bool) -> String {
    let mut total = Row { name: "total".to_owned(), ..Row::default() };
    for row in rows {
        total.figures += row.figures;
        total.measured += row.measured;
    }
    let cells: Vec<_> = rows.iter().map(cells).collect();
    let total = self::cells(&total);
    let headings = HEADINGS.map(lines);
    let widths: [usize; 9] = std::array::from_fn(|column| {
        let cells = cells.iter().chain([&total]).map(|row| row[column].chars().count());
        let headings = headings[column].iter().map(|line| line.chars().count());
        cells.chain(headings).max().unwrap_or(0)
    });
    let rule = |left: &str, middle: &str, right: &str| {
        format!("{left}{}{right}\n", widths.map(|width| "─".repeat(width + 2)).join(middle))
    };
    let mut text = rule("┌", "┬", "┐");
    let [above, below]: [[String; 9]; LINES] =
        std::array::from_fn(|at| std::array::from_fn(|column| headings[column][at].to_owned()));
    text += &line(&above, &widths, false);
    text += &line(&below, &widths, false);
    text += &rule("├", "┼", "┤");
    cells.iter().for_each(|row| text += &line(row, &widths, colour));
    text += &rule("├", "┼", "┤");
    text += &line(&total, &widths, colour);
    text + &rule("└", "┴", "┘")
}

/// Splits a heading into two lines, so that the table fits a terminal.
fn lines(heading: &'static str) -> [&'static str; LINES] {
    heading.split_once(' ').map_or(["", heading], |(above, below)| [above, below])
}

fn line(cells: &[String; 9], widths: &[usize; 9], colour: bool) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
        let text = if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
        match (colour && MUST_BE_ZERO.contains(&column), cell.as_str()) {
            (true, "0") => format!("\x1b[32m{text}\x1b[0m"),
            (true, _) => format!("\x1b[1;31m{text}\x1b[0m"),
            _ => text,
        }
    });
    format!("│ {} │\n", padded.collect::<Vec<_>>().join(" │ "))
}

fn nothing() -> String {
    "-".to_owned()
}

fn cells(row: &Row) -> [String; 9] {
    let Row { name, figures, measured } = row;
    let milliseconds = |time: Option<Duration>| {
        time.map_or_else(nothing, |time| format!("{:.0} ms", time.as_secs_f64() * 1_000.0))
    };
    [
        name.clone(),
        figures.published.to_string(),
        figures.processed.to_string(),
        figures.dead_lettered.to_string(),
        milliseconds(measured.average_waiting()),
        milliseconds(measured.average_processing()),
        measured.throughput().map_or_else(nothing, |rate| format!("{rate:.0}/s")),
        figures.lost.to_string(),
        figures.duplicated.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_as_wide_as_the_first_and_the_sum_is_right() {
        let figures = |published| Figures { published, processed: published, ..Figures::default() };
        let rows = [("a", 4_000), ("civil-affairs/b", 6)].map(|(name, count)| Row {
            name: name.to_owned(),
            figures: figures(count),
            ..Row::default()
        });
        let text = table(&rows, false);
        let width = text.lines().next().unwrap().chars().count();
        assert!(text.lines().all(|line| line.chars().count() == width), "{text}");
        assert!(text.lines().any(|line| line.contains("total") && line.contains("4006")), "{text}");
        assert!(width <= 120, "{width} columns: {text}");
    }

    #[test]
    fn a_loss_is_red() {
        let figures = Figures { published: 2, lost: 1, ..Figures::default() };
        let text = table(&[Row { name: "a".to_owned(), figures, ..Row::default() }], true);
        assert!(text.contains("\x1b[1;31m"), "{text}");
    }
}
