//! Keeps callers from filling the program's log with refusals.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Refusals logged in one interval; more are counted, and the count is logged.
const MOST: u32 = 50;
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Flood(Mutex<Interval>);

#[derive(Debug, Default)]
struct Interval {
    began: Option<Instant>,
    seen: u32,
}

impl Flood {
    /// Whether one more may be logged.
    pub(super) fn admits(&self) -> bool {
        self.admits_at(Instant::now())
    }

    fn admits_at(&self, now: Instant) -> bool {
        let mut interval = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if interval.began.is_none_or(|began| now.saturating_duration_since(began) >= INTERVAL) {
            let left_out = interval.seen.saturating_sub(MOST);
            *interval = Interval { began: Some(now), seen: 0 };
            if left_out > 0 {
                tracing::warn!(
                    left_out,
                    "more refusals than the log takes; set access.file in the configuration to have all of them"
                );
            }
        }
        interval.seen = interval.seen.saturating_add(1);
        interval.seen <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_so_many_and_the_next_begins_anew() {
        let (flood, now) = (Flood::default(), Instant::now());
        let admitted = (0..500).filter(|_| flood.admits_at(now)).count();
        assert_eq!(admitted, MOST as usize);
        assert!(flood.admits_at(now + INTERVAL));
    }
}
