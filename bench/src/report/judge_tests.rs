//! Tests of the verdicts, over invented rows.

use super::{
    POSTHOUSE,
    judge::{Verdict, find, judge},
    pick::{self, Pick, spread},
    samples::{all, point, row, with},
    targets::{Bound, Measure, TARGETS},
};
use crate::row::Row;

fn verdict(rows: &[Row], measure: Measure) -> Verdict {
    let mut found = judge(rows).into_iter().filter(|judgement| judgement.target.measure == measure);
    let judgement = found.next().expect("such a target");
    assert!(found.next().is_none(), "{measure:?} is promised twice");
    judgement.verdict
}

#[test]
fn nothing_measured_is_nothing_kept() {
    let verdicts: Vec<_> = judge(&[]).into_iter().map(|judgement| judgement.verdict).collect();
    assert_eq!(verdicts, vec![Verdict::NotMeasured; TARGETS.len()]);
    // Rows without figures are no measurement either.
    let empty = with(
        |_| true,
        |row| {
            *row = Row {
                part: row.part.clone(),
                system: row.system.clone(),
                scenario: row.scenario.clone(),
                remark: row.remark.clone(),
                axis: row.axis.clone(),
                ..Row { x: row.x, connections: row.connections, ..Row::default() }
            };
        },
    );
    assert!(judge(&empty).iter().all(|judgement| judgement.verdict == Verdict::NotMeasured));
}

#[test]
fn the_sample_keeps_every_promise_and_every_one_can_be_missed() {
    for judgement in judge(&all().rows) {
        assert_eq!(judgement.verdict, Verdict::Met, "{judgement:?}");
        let value = judgement.found.expect("a figure").value;
        let bound = judgement.target.bound;
        let (worse, at) = match bound {
            Bound::Min(at) => (at * 0.999, at),
            Bound::Max(at) | Bound::Below(at) => (at * 1.001, at),
        };
        assert!(bound.holds(value) && !bound.holds(worse), "{bound:?} {value}");
        assert_eq!(bound.holds(at), !matches!(bound, Bound::Below(_)), "{bound:?}");
    }
}

#[test]
fn every_promise_needs_rows_of_its_own() {
    let rows = all().rows;
    for (part, lost) in [
        ("compare", 17),
        ("limit", 3),
        ("naive", 4),
        ("latency", 2),
        ("fila", 1),
        ("growth", 4),
        ("soak", 2),
        ("memory", 2),
    ] {
        let rest: Vec<Row> = rows.iter().filter(|row| row.part != part).cloned().collect();
        let missing = judge(&rest).iter().filter(|it| it.verdict == Verdict::NotMeasured).count();
        assert_eq!(missing, lost, "{part}");
    }
    let ours: Vec<Row> = rows.iter().filter(|row| row.system != POSTHOUSE).cloned().collect();
    assert!(judge(&ours).iter().all(|judgement| judgement.verdict == Verdict::NotMeasured));
}

#[test]
fn one_good_run_of_a_peer_is_its_denominator_and_one_of_ours_is_not() {
    let measure = Measure::RateToPeer("publish", "rabbitmq");
    let publish = |row: &Row| row.part == "compare" && row.scenario == "publish" && row.round == 2;
    let rows = with(
        |row| publish(row) && row.system == "rabbitmq",
        |row| {
            (row.rate, row.connections) = (100_000.0, 1);
        },
    );
    let found = find(measure, &rows).unwrap();
    assert!((found.value - 4.0).abs() < 1e-9, "{found:?}");
    assert_eq!(found.detail, "400,000 msg/s / 100,000 msg/s");
    assert_eq!(verdict(&rows, measure), Verdict::Missed);
    assert_eq!(verdict(&rows, Measure::RateToPeer("publish", "nats")), Verdict::Met);
    let lucky = with(|row| publish(row) && row.system == POSTHOUSE, |row| row.rate = 9e9);
    assert!((find(measure, &lucky).unwrap().value - 404_000.0 / 50_500.0).abs() < 1e-9);
    // A run with another payload size does not count.
    let other = with(
        |row| publish(row) && row.system == "rabbitmq",
        |row| {
            (row.rate, row.payload_bytes) = (9e9, 100);
        },
    );
    assert_eq!(verdict(&other, measure), Verdict::Met);
}

#[test]
fn figures_are_found_where_they_should_be() {
    let missed = |measure, so: &dyn Fn(&Row) -> bool, change: &dyn Fn(&mut Row)| {
        assert_eq!(verdict(&with(so, change), measure), Verdict::Missed, "{measure:?}");
    };
    let ours = |row: &Row| row.system == POSTHOUSE;
    let half = |row: &Row| row.part == "latency" && row.remark.starts_with("half");
    let minutes = |row: &Row| row.part == "soak" && row.x >= 25.0;
    missed(Measure::LatencyToRabbit, &|row| half(row) && row.system == "rabbitmq", &|row| {
        row.p99_us = 19_000.0
    });
    missed(Measure::LatencyToSync, &|row| row.system == "fsync", &|row| row.p50_us = 1_500.0);
    missed(Measure::CpuToPeer("postgres"), &|row| row.system == "postgres" && row.round == 2, &|row| {
        row.server_cpu_seconds = row.messages as f64 * 1e-6;
    });
    missed(
        Measure::NaiveToPeer("nats-always"),
        &|row| row.part == "naive" && row.system == "nats-always",
        &|row| {
            row.rate = 60_001.0;
        },
    );
    missed(Measure::OneByOne, &|row| row.part == "fila", &|row| row.rate = 2_325.0);
    missed(
        Measure::Fall("backlog", 1_000, 10_000_000),
        &|row| row.axis == "backlog" && row.x == 1e7,
        &|row| {
            row.rate = 260_000.0;
        },
    );
    missed(Measure::IdleQueue, &|row| row.axis == "queues-idle-memory" && row.x > 1.0, &|row| {
        row.server_memory_bytes = 210 << 20;
    });
    missed(Measure::Start(10_000_000), &|row| row.axis == "start-seconds" && row.x == 1e7, &|row| {
        row.seconds = 2.0
    });
    missed(Measure::SoakDrift, &minutes, &|row| row.rate = 180_000.0);
    missed(Measure::SoakMemory, &minutes, &|row| row.server_memory_bytes = 320 << 20);
    missed(Measure::Memory(64), &|row| row.part == "memory" && row.connections == 64, &|row| {
        row.server_memory_bytes = 512 << 20;
    });
    missed(Measure::RateToLimit("publish", "bare"), &|row| row.system == "bare", &|row| row.rate = 450_000.0);
    let wider = with(|row| row.system == "bare", |row| row.payload_bytes = 4096);
    assert_eq!(verdict(&wider, Measure::RateToLimit("publish", "bare")), Verdict::NotMeasured);
    missed(Measure::RateToLimit("consume", "echo"), &|row| row.system == "echo", &|row| row.rate = 810_000.0);
    missed(Measure::RateToPeer("both", "nats"), &|row| ours(row) && row.scenario == "both", &|row| {
        row.rate = 2e5
    });
}

#[test]
fn a_broken_off_soak_or_curve_is_not_judged() {
    let rows = |last: i32| {
        (1..=last).map(|minute| point("soak", "minute", f64::from(minute), 1e5)).collect::<Vec<_>>()
    };
    assert_eq!(verdict(&rows(28), Measure::SoakDrift), Verdict::NotMeasured);
    assert_eq!(verdict(&rows(30), Measure::SoakDrift), Verdict::Met);
    let curve = [point("growth", "backlog", 1e3, 1e5), point("growth", "backlog", 1e6, 1e5)];
    assert_eq!(verdict(&curve, Measure::Fall("backlog", 1_000, 10_000_000)), Verdict::NotMeasured);
}

#[test]
fn the_median_is_in_the_middle() {
    let middle = |values: &[f64]| spread(values.iter().copied()).map(|it| (it.median, it.min, it.max));
    assert_eq!(middle(&[5.0, 1.0, 9.0]), Some((5.0, 1.0, 9.0)));
    assert_eq!(middle(&[4.0, 1.0, 2.0, 100.0]), Some((3.0, 1.0, 100.0)));
    assert_eq!(middle(&[]), None);
}

#[test]
fn the_best_shape_has_the_highest_median_not_the_highest_run() {
    let shape = |connections, rate| Row { connections, ..row("compare", POSTHOUSE, "publish", rate) };
    let rows =
        [shape(1, 10.0), shape(1, 11.0), shape(1, 12.0), shape(64, 1.0), shape(64, 2.0), shape(64, 99.0)];
    let best = Pick::part(&rows, "compare").best_shape();
    assert_eq!((best.rows().len(), best.median(pick::rate)), (3, Some(11.0)));
}

#[test]
fn one_high_peak_of_memory_is_enough_and_one_good_latency_of_a_peer_too() {
    let mut rows = all().rows;
    let memory = Row { connections: 64, round: 2, ..row("memory", POSTHOUSE, "both", 3e5) };
    rows.extend([600, 100].map(|mebibytes| Row { server_memory_bytes: mebibytes << 20, ..memory.clone() }));
    assert_eq!(verdict(&rows, Measure::Memory(64)), Verdict::Missed);
    assert_eq!(verdict(&rows, Measure::Memory(512)), Verdict::Met);
    let lucky = |row: &Row| row.part == "latency" && row.system == "rabbitmq" && row.round == 3;
    let rows = with(lucky, |row| row.p99_us = 10_000.0);
    assert_eq!(verdict(&rows, Measure::LatencyToRabbit), Verdict::Missed);
}
