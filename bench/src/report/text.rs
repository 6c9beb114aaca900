//! Numbers and tables as text.

use std::fmt::Write as _;

/// Text of a cell without a figure.
pub const NOTHING: &str = "–";

/// A whole number with commas between thousands; below 10, with two decimals.
pub fn number(value: f64) -> String {
    if value.abs() < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number as short as a label of an axis.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{unit}", trimmed(scaled))
}

/// At most two decimals.
pub fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration given in microseconds.
pub fn micros(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} s", value / 1e6),
        value if value >= 1e5 => format!("{:.0} ms", value / 1e3),
        value if value >= 1e4 => format!("{:.1} ms", value / 1e3),
        value if value >= 1e3 => format!("{:.2} ms", value / 1e3),
        value => format!("{value:.0} µs"),
    }
}

/// A size in bytes.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = value;
    while scaled.abs() >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    match scaled.abs() {
        size if size >= 100.0 || (scaled - scaled.round()).abs() < 0.05 => {
            format!("{scaled:.0} {}", UNITS[unit])
        }
        _ => format!("{scaled:.1} {}", UNITS[unit]),
    }
}

/// A share as percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A ratio with its sign.
pub fn times(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

/// A figure as text, or [`NOTHING`].
pub fn or_nothing(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), show)
}

/// A Markdown table.
#[derive(Debug)]
pub struct Table {
    text: String,
    columns: usize,
}

impl Table {
    /// A table with these heads: the first column is aligned left, the others right.
    pub fn new<T: AsRef<str>>(heads: &[T]) -> Self {
        let mut table = Self { text: String::new(), columns: heads.len() };
        table.row(heads);
        let rules: Vec<&str> =
            (0..heads.len()).map(|column| if column == 0 { "---" } else { "--:" }).collect();
        let _ = writeln!(table.text, "|{}|", rules.join("|"));
        table
    }

    /// A table of words: all columns are aligned left.
    pub fn of_words(heads: &[&str]) -> Self {
        let mut table = Self { text: String::new(), columns: heads.len() };
        table.row(heads);
        let _ = writeln!(table.text, "|{}", "---|".repeat(heads.len()));
        table
    }

    /// Adds a row; characters that would break the table are escaped.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        self.text.push('|');
        for column in 0..self.columns {
            let cell = cells.get(column).map_or("", AsRef::as_ref);
            let _ = write!(self.text, " {} |", cell.replace('|', "\\|").replace(['\n', '\r'], " "));
        }
        self.text.push('\n');
    }

    /// The table as Markdown, between empty lines.
    pub fn finish(self) -> String {
        format!("\n{}\n", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_legible() {
        let numbers = [1_234_567.6, 999.5, 0.0, 1.5, -1_000.0, 100.0].map(number);
        assert_eq!(numbers, ["1,234,568", "1,000", "0", "1.50", "-1,000", "100"]);
        assert_eq!([1e7, 1_500.0, 64.0, 0.25].map(short), ["10M", "1.5k", "64", "0.25"]);
        assert_eq!([3e6, 123_456.0, 1_234.0, 12.4].map(micros), ["3.00 s", "123 ms", "1.23 ms", "12 µs"]);
        assert_eq!([512.0, 1_536.0, 536_870_912.0].map(bytes), ["512 B", "1.5 KiB", "512 MiB"]);
    }

    #[test]
    fn a_cell_cannot_break_its_table() {
        let mut table = Table::new(&["a", "b"]);
        table.row(&["x|y\nz"]);
        assert_eq!(table.finish(), "\n| a | b |\n|---|--:|\n| x\\|y z |  |\n\n");
    }
}
