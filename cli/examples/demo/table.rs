//! The closing table.

use crate::tally::Figures;

const HEADINGS: [&str; 6] = ["queue", "published", "processed", "lost", "duplicated", "redelivered"];

/// The rows and their sum as a table; colour only for a terminal.
pub fn table(rows: &[(String, Figures)], colour: bool) -> String {
    let mut total = Figures::default();
    rows.iter().for_each(|(_, figures)| total += *figures);
    let rows: Vec<_> =
        rows.iter().map(|(name, figures)| cells(name, figures)).chain([cells("total", &total)]).collect();
    let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0).max(HEADINGS[0].len());
    let rule = |left, middle, right| {
        let column = |size: usize| "─".repeat(size + 2);
        let numbers: Vec<_> = HEADINGS[1..].iter().map(|heading| column(heading.len())).collect();
        format!("{left}{}{middle}{}{right}\n", column(width), numbers.join(middle))
    };
    let line = |row: &[String; 6]| {
        let numbers = row.iter().zip(HEADINGS).enumerate().skip(1);
        let numbers = numbers.map(|(column, (cell, heading))| {
            let text = format!("{cell:>size$}", size = heading.len());
            paint(&text, column, cell, colour)
        });
        let name = format!("{:<width$}", row[0]);
        format!("│ {name} │ {} │\n", numbers.collect::<Vec<_>>().join(" │ "))
    };
    let mut text = rule("┌", "┬", "┐");
    text += &line(&HEADINGS.map(str::to_owned));
    text += &rule("├", "┼", "┤");
    for (at, row) in rows.iter().enumerate() {
        if at + 1 == rows.len() {
            text += &rule("├", "┼", "┤");
        }
        text += &line(row);
    }
    text + &rule("└", "┴", "┘")
}

fn cells(name: &str, figures: &Figures) -> [String; 6] {
    let Figures { published, processed, lost, duplicated, redelivered } = figures;
    let numbers = [published, processed, lost, duplicated, redelivered].map(u64::to_string);
    let [published, processed, lost, duplicated, redelivered] = numbers;
    [name.to_owned(), published, processed, lost, duplicated, redelivered]
}

/// Green for a loss or duplicate of 0, red for any other.
fn paint(text: &str, column: usize, cell: &str, colour: bool) -> String {
    match (colour && matches!(column, 3 | 4), cell) {
        (true, "0") => format!("\x1b[32m{text}\x1b[0m"),
        (true, cell) if cell != HEADINGS[column] => format!("\x1b[1;31m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}
