//! The counts of a queue, for people.

use std::time::Duration;

use super::sample::{Rates, Sample};
use crate::time::roughly;

/// What nobody knows.
const UNKNOWN: &str = "-";

/// A line per count. What is not known is shown as `-`.
pub(super) fn text(sample: &Sample, rates: Option<Rates>) -> String {
    let sums = sample.sums.as_ref();
    let number = |value: Option<u64>| value.map_or_else(|| UNKNOWN.to_owned(), grouped);
    let time = |value: Option<Duration>| value.map_or_else(|| UNKNOWN.to_owned(), short);
    let rate = |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), |rate| format!("{rate:.1}/s"));
    let rows = [
        ("ready", grouped(sample.ready)),
        ("in flight", grouped(sample.in_flight)),
        ("waiting for retry", grouped(sample.waiting)),
        ("dead, parked here", grouped(sample.parked)),
        ("oldest unsettled", time(sums.and_then(|sums| sums.oldest_age()))),
        ("stored", sums.map_or_else(|| UNKNOWN.to_owned(), |sums| bytes(sums.stored_bytes))),
        ("published", number(sums.map(|sums| sums.published))),
        ("acked", number(sums.map(|sums| sums.acked))),
        ("dead-lettered", number(sums.map(|sums| sums.dead_lettered))),
        ("average waiting time", time(sums.and_then(|sums| sums.average_waiting()))),
        ("average processing time", time(sums.and_then(|sums| sums.average_processing()))),
        ("in", rate(rates.map(|rates| rates.published))),
        ("out", rate(rates.map(|rates| rates.acked))),
    ];
    rows.into_iter().map(|(name, value)| format!("  {name:<25}{value:>16}\n")).collect()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn bytes(number: u64) -> String {
    let (mut rest, mut unit) = (number, 0);
    let mut tenths = 0;
    while rest >= 1024 && unit < 4 {
        tenths = rest % 1024 * 10 / 1024;
        rest /= 1024;
        unit += 1;
    }
    match ["B", "KiB", "MiB", "GiB", "TiB"][unit] {
        "B" => format!("{rest} B"),
        unit => format!("{rest}.{tenths} {unit}"),
    }
}

/// With as many digits as tell something.
fn short(duration: Duration) -> String {
    match duration.as_micros() {
        micros @ 0..1_000 => format!("{micros} us"),
        micros @ 1_000..10_000 => format!("{}.{} ms", micros / 1000, micros / 100 % 10),
        micros @ 10_000..1_000_000 => format!("{} ms", micros / 1000),
        micros @ 1_000_000..10_000_000 => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
        _ => roughly(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::sample;
    use super::*;

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(grouped)[..]);
        assert_eq!(["5 B", "1.0 KiB", "1.5 MiB", "2.0 GiB"], [5, 1024, 3 << 19, 2 << 30].map(bytes)[..]);
        let times =
            [7, 1_500, 12_345, 2_300_000, 65_000_000].map(|micros| short(Duration::from_micros(micros)));
        assert_eq!(["7 us", "1.5 ms", "12 ms", "2.3 s", "1 min 5 s"], times[..]);
    }

    #[test]
    fn every_row_is_there_and_unknown_ones_say_so() {
        let known = sample(1000, 12_000, 11_000);
        let text = super::text(&known, Rates::between(&sample(990, 11_000, 10_500), &known));
        for row in
            ["oldest unsettled", "1 min 5 s", "3.0 MiB", "12,000", "12 ms", "1.5 ms", "100.0/s", "50.0/s"]
        {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
        let unknown = super::text(&Sample { sums: None, ..known }, None);
        assert_eq!(unknown.matches(" -\n").count(), 9, "{unknown}");
    }
}
