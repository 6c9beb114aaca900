//! Section of the report: what a message costs inside of Posthouse.

use super::{
    pick::{self, Pick},
    text::{NOTHING, Table, number},
};
use crate::row::Row;

/// The section; empty if it was not measured.
pub fn inside(rows: &[Row]) -> String {
    let all = Pick::part(rows, "inside");
    if all.is_empty() {
        return String::new();
    }
    let scenarios = ["publish", "consume", "both"];
    let mut figures: Vec<&str> = Vec::new();
    for row in all.rows() {
        if !figures.contains(&row.axis.as_str()) {
            figures.push(&row.axis);
        }
    }
    let mut table = Table::new(&["", "publish", "consume", "both"]);
    for figure in figures {
        let mut cells = vec![figure.to_owned()];
        for scenario in scenarios {
            let measured = all.axis(figure).scenario(scenario).median(pick::x);
            cells.push(measured.map_or_else(|| NOTHING.to_owned(), number));
        }
        table.row(&cells);
    }
    format!(
        "## Inside\n\nWhat a message costs in Posthouse: of each message unless said, from its metrics before and \
         after, RocksDB's own\ncounters among them. Allocations are requests to jemalloc in the server, and to the \
         system's allocator in the load\ngenerator, its own work included. A load of a few seconds: what is flushed \
         and compacted later, or of an earlier load, is\nnot told apart.\n{}",
        table.finish().trim_end_matches('\n').to_owned() + "\n"
    )
}
