//! Allocations of this process, and of a server that uses jemalloc.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Environment of a server: its jemalloc prints its counts as JSON to stderr when the server ends, summed over all
/// arenas.
pub const PRINT_STATS: (&str, &str) = ("MALLOC_CONF", "stats_print:true,stats_print_opts:Jgdablxeh");

/// Counters; threads share one only beyond this number.
const STRIPES: usize = 64;

static COUNTS: AtomicBool = AtomicBool::new(false);
static COUNT: [Stripe; STRIPES] = [const { Stripe(AtomicU64::new(0)) }; STRIPES];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A counter on its own cache lines.
#[repr(align(128))]
struct Stripe(AtomicU64);

/// The system's allocator, which counts allocations while counting is on.
pub struct Counting;

// SAFETY: every call is passed to the system's allocator unchanged.
#[expect(unsafe_code, reason = "an allocator has no safe interface")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count() {
    if COUNTS.load(Ordering::Relaxed) {
        let stripe = STRIPE.get();
        let stripe = if stripe < STRIPES { stripe } else { assign_stripe() };
        COUNT[stripe].0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cold]
fn assign_stripe() -> usize {
    let stripe = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
    STRIPE.set(stripe);
    stripe
}

/// Switches counting on; returns the allocations so far.
pub fn of_this_process() -> u64 {
    COUNTS.store(true, Ordering::Relaxed);
    COUNT.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
}

/// The allocations in the statistics that a server's jemalloc printed.
pub fn of_server(log: &str) -> Result<u64> {
    let start = log.find("{\"jemalloc\"").or_else(|| log.find("{\n\t\"jemalloc\""));
    let start = start.context("the server's allocator has told nothing")?;
    let stats: Value = serde_json::Deserializer::from_str(&log[start..])
        .into_iter()
        .next()
        .context("the server's allocator has told nothing")??;
    let merged = &stats["jemalloc"]["stats.arenas"]["merged"];
    let of = |size: &str| {
        let requests = &merged[size]["nrequests"];
        requests.as_u64().with_context(|| format!("the allocator does not tell of {size} requests"))
    };
    Ok(of("small")? + of("large")?)
}

/// Switches counting off.
pub fn stop() {
    COUNTS.store(false, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted() {
        let before = of_this_process();
        let boxes: Vec<Box<u64>> = (0..1_000).map(Box::new).collect();
        assert!(of_this_process() >= before + 1_000, "{}", boxes.len());
    }

    #[test]
    fn the_statistics_of_jemalloc_are_found_among_other_lines() {
        let log = "started\n{\"jemalloc\":{\"stats.arenas\":{\"merged\":{\"small\":{\"nrequests\":40},\
                   \"large\":{\"nrequests\":2}}}}}\nmore";
        assert_eq!(of_server(log).unwrap(), 42);
        assert!(of_server("nothing").is_err());
    }
}
