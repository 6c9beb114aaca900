//! The engine's verbs as scenarios: commands in, outcomes and effects out. Every step is checked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod relocated;
mod bounds;
mod catalogue;
mod dead_letters;
mod definitions;
mod delivery;
mod halts;
mod producers;
mod publish;
mod purge;
mod redrive;
mod requests;
mod set_aside;
mod shard;
mod views;
mod stragglers;
mod time;
mod wall_time;
mod trim;
