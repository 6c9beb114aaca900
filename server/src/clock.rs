//! The stamp of batches: the last stamp plus monotonic time, drawn slowly towards the wall clock.
//!
//! A wall clock that jumps must neither expire a year of messages nor stop time. So stamps follow the monotonic clock
//! and take up at most one hundredth of what has passed of the difference to the wall clock. A wall clock more than
//! seven days ahead of the last stamp at start is not believed until an operator says so: stamps go on from the last
//! one and nothing expires.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A wall clock further ahead of the last stamp than this, at start, needs an operator's word.
pub const MAX_JUMP_AT_START: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The part of elapsed time by which a stamp may be drawn towards the wall clock.
const SLEW_PART: i64 = 100;

/// Stamps for batches, Unix milliseconds, never decreasing.
#[derive(Debug)]
pub struct Clock {
    state: Mutex<State>,
    expiry_halted: bool,
}

#[derive(Debug)]
struct State {
    stamp_us: i64,
    read_at: Instant,
}

impl Clock {
    /// Begins after `last_ms`, the newest stamp any shard has applied (0: none). `accept_jump` is the operator's word.
    #[must_use]
    pub fn start(last_ms: u64, accept_jump: bool) -> Self {
        Self::start_at(last_ms, accept_jump, wall_us(), Instant::now())
    }

    fn start_at(last_ms: u64, accept_jump: bool, wall_us: i64, now: Instant) -> Self {
        let last_us = i64::try_from(last_ms).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000);
        let limit_us = i64::try_from(MAX_JUMP_AT_START.as_micros()).unwrap_or(i64::MAX);
        let jumped = last_ms != 0 && wall_us.saturating_sub(last_us) > limit_us;
        let expiry_halted = jumped && !accept_jump;
        let stamp_us = if expiry_halted { last_us } else { wall_us.max(last_us) };
        Self { state: Mutex::new(State { stamp_us, read_at: now }), expiry_halted }
    }

    /// The stamp for a batch made now.
    pub fn now_ms(&self) -> u64 {
        self.advance(wall_us(), Instant::now())
    }

    /// Whether nothing may expire, because the wall clock had jumped at start.
    #[must_use]
    pub fn expiry_halted(&self) -> bool {
        self.expiry_halted
    }

    fn advance(&self, wall_us: i64, now: Instant) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_us = i64::try_from(now.saturating_duration_since(state.read_at).as_micros()).unwrap_or(0);
        let plain_us = state.stamp_us.saturating_add(elapsed_us);
        let most_us = elapsed_us / SLEW_PART;
        let drawn_us =
            if self.expiry_halted { 0 } else { wall_us.saturating_sub(plain_us).clamp(-most_us, most_us) };
        // Keep the rest of a division: a clock read every few microseconds must still be drawn.
        if elapsed_us >= SLEW_PART {
            state.stamp_us = plain_us.saturating_add(drawn_us);
            state.read_at = now;
        }
        u64::try_from(plain_us.saturating_add(drawn_us) / 1_000).unwrap_or(0)
    }
}

fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 24 * 3_600 * 1_000_000;

    #[test]
    fn a_jump_at_start_is_not_believed_until_an_operator_says_so() {
        let (now, last_ms) = (Instant::now(), 1_000_000_000);
        let wall_us = 1_000_000_000_000 + 365 * DAY_US;
        let clock = Clock::start_at(last_ms, false, wall_us, now);
        assert!(clock.expiry_halted());
        assert_eq!(clock.advance(wall_us + 2_000_000, now + Duration::from_secs(2)), last_ms + 2_000);
        let clock = Clock::start_at(last_ms, true, wall_us, now);
        assert!(!clock.expiry_halted());
        assert_eq!(clock.advance(wall_us, now), u64::try_from(wall_us / 1_000).unwrap());
    }

    #[test]
    fn the_first_start_and_six_days_off_are_believed() {
        let now = Instant::now();
        assert!(!Clock::start_at(0, false, 365 * DAY_US, now).expiry_halted());
        let clock = Clock::start_at(1_000, false, 6 * DAY_US, now);
        assert_eq!(clock.advance(6 * DAY_US, now), u64::try_from(6 * DAY_US / 1_000).unwrap());
    }

    #[test]
    fn a_jump_while_running_is_slewed_and_stamps_never_go_back() {
        let now = Instant::now();
        let clock = Clock::start_at(0, false, DAY_US, now);
        let day_ms = u64::try_from(DAY_US / 1_000).unwrap();
        assert_eq!(clock.advance(2 * DAY_US, now + Duration::from_secs(100)), day_ms + 101_000);
        assert_eq!(clock.advance(0, now + Duration::from_secs(200)), day_ms + 200_000);
        let mut last = 0;
        for step in 0..10_000u64 {
            let stamp = clock.advance(0, now + Duration::from_micros(200_000_000 + 7 * step));
            assert!(stamp >= last);
            last = stamp;
        }
    }
}
