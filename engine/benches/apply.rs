//! Measures how many messages a second `apply` takes: `cargo bench -p posthouse-engine`. `examples/instructions.rs`
//! counts instructions, which depend less on the computer.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a measurement that cannot go on has to say where"
)]

mod load;

use std::{cell::RefCell, sync::LazyLock};

use divan::{Bencher, counter::ItemsCount};

use self::load::{Rounds, Shard, Verb};

fn main() {
    divan::main();
}

/// A sample is one batch, since a batch depends on the one before.
#[divan::bench(args = Verb::ALL, sample_size = 1, sample_count = 2_000, max_time = 5)]
fn apply(bencher: Bencher<'_, '_>, verb: Verb) {
    static BASE: LazyLock<Shard> = LazyLock::new(Shard::new);
    let rounds = RefCell::new(Rounds::new(verb, &BASE));
    bencher
        .counter(ItemsCount::new(verb.messages()))
        .with_inputs(|| rounds.borrow_mut().prepare())
        .bench_local_values(|batch| rounds.borrow_mut().apply(batch));
}
