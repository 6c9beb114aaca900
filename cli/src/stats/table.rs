//! Counts of a queue, for people.

use std::time::Duration;

use posthouse_client::QueueStats;

use crate::time::roughly;

/// Text of an unknown value.
const NONE: &str = "-";

/// A line per count.
pub(super) fn text(stats: &QueueStats, rates: Option<(f64, f64)>) -> String {
    let time = |value: Option<Duration>| value.map_or_else(|| NONE.to_owned(), short);
    let rate = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.1}/s"));
    let rows = [
        ("ready", grouped(stats.ready)),
        ("in flight", grouped(stats.in_flight)),
        ("waiting for retry", grouped(stats.waiting)),
        ("dead, parked here", grouped(stats.parked)),
        ("oldest unsettled", time(stats.oldest_age())),
        ("stored", bytes(stats.stored_bytes)),
        ("published", grouped(stats.published)),
        ("acked", grouped(stats.acked)),
        ("dead-lettered", grouped(stats.dead_lettered)),
        ("average waiting time", time(stats.average_waiting_time())),
        ("average processing time", time(stats.average_processing_time())),
        ("in", rate(rates.map(|(published, _)| published))),
        ("out", rate(rates.map(|(_, acked)| acked))),
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

/// A duration, with one decimal below ten units.
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
    use super::*;
    use posthouse_proto::v1;

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(grouped)[..]);
        assert_eq!(["5 B", "1.0 KiB", "1.5 MiB", "2.0 GiB"], [5, 1024, 3 << 19, 2 << 30].map(bytes)[..]);
        let times =
            [7, 1_500, 12_345, 2_300_000, 65_000_000].map(|micros| short(Duration::from_micros(micros)));
        assert_eq!(["7 us", "1.5 ms", "12 ms", "2.3 s", "1 min 5 s"], times[..]);
    }

    #[test]
    fn every_row_is_there_and_an_unknown_value_is_a_dash() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let stats = QueueStats::from(v1::QueueStats {
            published: 12_000,
            acked: 2,
            first_delivered: 4,
            waiting_time_sum: Some(prost_types::Duration { seconds: 0, nanos: 48_000_000 }),
            processing_time_sum: Some(prost_types::Duration { seconds: 0, nanos: 3_000_000 }),
            stored_bytes: 3 << 20,
            oldest_unsettled_time: at(935),
            as_of: at(1000),
            ..v1::QueueStats::default()
        });
        let text = super::text(&stats, Some((100.0, 50.04)));
        for row in ["1 min 5 s", "3.0 MiB", "12,000", "12 ms", "1.5 ms", "100.0/s", "50.0/s"] {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
        let nothing = super::text(&QueueStats::from(v1::QueueStats::default()), None);
        assert_eq!(nothing.matches(" -\n").count(), 5, "{nothing}");
    }
}
