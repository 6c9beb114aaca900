//! The part `growth`: figures of Posthouse as the backlog, queues, tenants, consumers or messages in flight grow.

pub mod backlog;
mod queues;
mod shapes;
mod tenants;

use anyhow::Result;

use super::Run;
use crate::row::Row;

/// Measures all curves except that of the [backlog].
pub async fn run(run: &mut Run) -> Result<()> {
    shapes::run(run).await?;
    tenants::run(run).await?;
    queues::run(run).await
}

/// A point of a curve.
fn point(row: Row, axis: &str, x: u64) -> Row {
    Row { part: "growth".to_owned(), axis: axis.to_owned(), x: x as f64, ..row }
}

/// 1, 10, 100 ... up to the largest.
fn decades(first: u64, largest: u64) -> Vec<u64> {
    std::iter::successors(Some(first), |x| x.checked_mul(10)).take_while(|x| *x <= largest).collect()
}

/// The two ends of a curve, in the opposite order in even rounds.
fn alternate<T>(round: u32, mut ends: [T; 2]) -> [T; 2] {
    if round.is_multiple_of(2) {
        ends.reverse();
    }
    ends
}
