//! How many calls of a tenant there may be in a second.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A tenant that has been silent may make the calls of this time at once.
const BURST: Duration = Duration::from_secs(1);

/// A bucket of calls that fills steadily. Calls that may not be refused are counted, too, but leave half of it
/// to the others.
#[derive(Debug)]
pub(super) struct Rate {
    /// Between two calls.
    interval: Duration,
    /// When it would be full again.
    full_at: Mutex<Instant>,
}

impl Rate {
    pub(super) fn new(calls_per_second: u64, now: Instant) -> Self {
        let interval = Duration::from_nanos(1_000_000_000 / calls_per_second.max(1));
        Self { interval, full_at: Mutex::new(now) }
    }

    /// Counts a call, or says how long to wait for one.
    pub(super) fn count(&self, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let then = (*full_at).max(now) + self.interval;
        let wait = then.saturating_duration_since(now + BURST);
        if !wait.is_zero() {
            return Err(wait);
        }
        *full_at = then;
        Ok(())
    }

    /// Counts a call that is made in any case.
    pub(super) fn count_unrefused(&self, now: Instant) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let then = (*full_at).max(now) + self.interval;
        *full_at = (*full_at).max(then.min(now + BURST / 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_second_and_as_many_at_once() {
        let mut now = Instant::now();
        let rate = Rate::new(10, now);
        let counted = |now| std::iter::repeat_with(|| rate.count(now)).take_while(Result::is_ok).count();
        assert_eq!(counted(now), 10);
        assert_eq!(rate.count(now), Err(Duration::from_millis(100)));
        now += Duration::from_millis(250);
        assert_eq!(counted(now), 2);
        assert_eq!(rate.count(now), Err(Duration::from_millis(50)));
        now += Duration::from_secs(60);
        assert_eq!(counted(now), 10);
    }

    #[test]
    fn what_may_not_be_refused_is_counted_and_leaves_half_to_the_others() {
        let mut now = Instant::now();
        let rate = Rate::new(10, now);
        let counted = |now| std::iter::repeat_with(|| rate.count(now)).take_while(Result::is_ok).count();
        (0..3).for_each(|_| rate.count_unrefused(now));
        assert_eq!(counted(now), 7);
        rate.count_unrefused(now);
        now += Duration::from_secs(60);
        (0..1_000).for_each(|_| rate.count_unrefused(now));
        assert_eq!(counted(now), 5);
        for _ in 0..10 {
            now += Duration::from_millis(100);
            (0..1_000).for_each(|_| rate.count_unrefused(now));
            assert_eq!(counted(now), 1, "others have their rate whatever is settled");
        }
    }
}
