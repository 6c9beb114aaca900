//! A fixed run of `apply` whose instructions are counted: `make instructions`. It prints one line per verb: its name
//! and its number of messages. At the end of a verb it calls [`verb_ends`], where the counter starts again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a measurement that cannot go on has to say where"
)]

#[path = "../benches/load/mod.rs"]
mod load;

use load::{Rounds, Shard, Verb};

/// Messages of a verb: enough for some trims, which not every batch has.
const MESSAGES: usize = 16_384;
/// The most batches of a verb.
const MAX_ROUNDS: usize = 1_024;

fn main() {
    let base = Shard::new();
    for verb in Verb::ALL {
        let mut rounds = Rounds::new(verb, &base);
        let count = (MESSAGES / verb.messages()).min(MAX_ROUNDS);
        verb_ends();
        for _ in 0..count {
            let batch = rounds.prepare();
            rounds.apply(batch);
        }
        println!("{verb} {}", count * verb.messages());
        verb_ends();
    }
}

#[inline(never)]
fn verb_ends() {
    std::hint::black_box(());
}
