//! A fixed run of `apply`, to have its instructions counted: `make instructions`. It prints one line per verb, its name
//! and how many messages it stands for; at the end of each it calls [`verb_ends`], where the counter starts anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a measurement that cannot go on has to say where"
)]

#[path = "../benches/load/mod.rs"]
mod load;

use load::{Rounds, Shard, Verb};

/// Messages of a verb: enough for some trims, which do not come with every batch.
const MESSAGES: usize = 16_384;
/// Batches of a verb, at most.
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
