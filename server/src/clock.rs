//! The stamp of batches: the last stamp plus monotonic time, slowly corrected towards the wall clock.
//!
//! A wall clock that jumps must neither expire a year of messages nor stop time. So stamps follow the monotonic clock,
//! and are corrected by at most one hundredth of the elapsed time. A wall clock that is more than seven days ahead at
//! start is not believed until an operator confirms it: stamps go on from the last one, and nothing expires. Otherwise
//! the time without a server is the difference of the wall clock to its reading at the last stamp, so that a clock that
//! was set while the server ran ends no lease early at the next start.
//!
//! Deadlines are compared with stamps; shown times are the wall clock's, which may be set at any time. [`Now`] converts
//! a stamp to the wall clock's time.

mod alarm;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) use alarm::MUCH_MS;

/// A wall clock that is further ahead, at start, of the last stamp or of what it said then, needs an operator's word.
pub const MAX_JUMP_AT_START: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The part of elapsed time by which a stamp may be drawn towards the wall clock.
const SLEW_PART: i64 = 100;

/// Stamps that differ less from the wall clock are shown unchanged: then shown times grow as stamps do.
const NEARLY_US: i64 = 10_000;

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

/// The newest stamp that any shard has applied, and what the wall clock said then: where the next process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastStamp {
    /// Unix milliseconds; 0: there was none.
    pub stamp_ms: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
}

/// One reading of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The stamp for a batch made now, Unix milliseconds.
    pub stamp_ms: u64,
    /// The same moment on the wall clock, in Unix milliseconds: it is only shown.
    pub wall_ms: u64,
    /// By how much stamps are about to gain on the wall clock.
    gains_ms: u64,
}

impl Now {
    /// How long until a stamp. Stamps that are behind the wall clock gain on it meanwhile.
    #[must_use]
    pub fn left_ms(self, due_ms: u64) -> u64 {
        let left = due_ms.saturating_sub(self.stamp_ms);
        left - self.gains_ms.min(left / (SLEW_PART.unsigned_abs() + 1))
    }

    /// When a stamp is, or was, by the wall clock.
    #[must_use]
    pub fn shown_ms(self, stamp_ms: u64) -> u64 {
        match self.stamp_ms.checked_sub(stamp_ms) {
            Some(past) => self.wall_ms.saturating_sub(past),
            None => self.wall_ms.saturating_add(self.left_ms(stamp_ms)),
        }
    }

    /// How long ago a stamp was.
    #[must_use]
    pub fn age_ms(self, stamp_ms: u64) -> u64 {
        self.stamp_ms.saturating_sub(stamp_ms)
    }

    /// A moment at which stamps are this far behind the wall clock, or ahead of it.
    #[cfg(test)]
    pub(crate) fn at(stamp_ms: u64, wall_ms: u64) -> Self {
        Self { stamp_ms, wall_ms, gains_ms: wall_ms.saturating_sub(stamp_ms) }
    }
}

impl Clock {
    /// Goes on after the last stamp. `accept_jump` is the operator's word.
    #[must_use]
    pub fn start(last: LastStamp, accept_jump: bool) -> Self {
        Self::start_at(last, accept_jump, wall_us(), Instant::now())
    }

    fn start_at(last: LastStamp, accept_jump: bool, wall_us: i64, now: Instant) -> Self {
        let us = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        let limit_us = i64::try_from(MAX_JUMP_AT_START.as_micros()).unwrap_or(i64::MAX);
        if last.stamp_ms == 0 {
            return Self {
                state: Mutex::new(State { stamp_us: wall_us, read_at: now }),
                expiry_halted: false,
            };
        }
        let last_us = us(last.stamp_ms);
        let passed_us = wall_us.saturating_sub(us(last.wall_ms)).max(0);
        let jumped = passed_us.max(wall_us.saturating_sub(last_us)) > limit_us;
        let (expiry_halted, stamp_us) = match (jumped, accept_jump) {
            (true, false) => (true, last_us),
            (false, false) => (false, last_us.saturating_add(passed_us)),
            (_, true) => (false, last_us.saturating_add(passed_us).max(wall_us)),
        };
        Self { state: Mutex::new(State { stamp_us, read_at: now }), expiry_halted }
    }

    /// The stamp for a batch made now.
    pub fn now_ms(&self) -> u64 {
        self.now().stamp_ms
    }

    /// The stamp for a batch made now, and the wall clock's time.
    pub fn now(&self) -> Now {
        self.now_at(wall_us(), Instant::now())
    }

    /// How far the wall clock is ahead of stamps, in milliseconds.
    #[must_use]
    pub fn wall_ahead_ms(&self) -> i64 {
        let wall_us = wall_us();
        wall_us.saturating_sub(self.advance(wall_us, Instant::now())) / 1_000
    }

    /// Whether nothing may expire, because the wall clock had jumped at start.
    #[must_use]
    pub fn expiry_halted(&self) -> bool {
        self.expiry_halted
    }

    fn now_at(&self, wall_us: i64, now: Instant) -> Now {
        let stamp_us = self.advance(wall_us, now);
        let ahead_us = wall_us.saturating_sub(stamp_us);
        // A wall clock before 1970 is ignored.
        let nearly = ahead_us.abs() < NEARLY_US || wall_us <= 0;
        let gains_us = if nearly || self.expiry_halted { 0 } else { ahead_us };
        let ms = |us: i64| u64::try_from(us / 1_000).unwrap_or(0);
        Now {
            stamp_ms: ms(stamp_us),
            wall_ms: ms(if nearly { stamp_us } else { wall_us }),
            gains_ms: ms(gains_us),
        }
    }

    /// The stamp in microseconds.
    fn advance(&self, wall_us: i64, now: Instant) -> i64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_us = i64::try_from(now.saturating_duration_since(state.read_at).as_micros()).unwrap_or(0);
        let plain_us = state.stamp_us.saturating_add(elapsed_us);
        let max_us = elapsed_us / SLEW_PART;
        let drawn_us =
            if self.expiry_halted { 0 } else { wall_us.saturating_sub(plain_us).clamp(-max_us, max_us) };
        // Keep the rest of a division: a clock read every few microseconds must still be drawn.
        if elapsed_us >= SLEW_PART {
            state.stamp_us = plain_us.saturating_add(drawn_us);
            state.read_at = now;
        }
        plain_us.saturating_add(drawn_us)
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

    /// A stamp at which the wall clock said the same.
    fn at(ms: u64) -> LastStamp {
        LastStamp { stamp_ms: ms, wall_ms: ms }
    }

    #[test]
    fn a_jump_at_start_is_not_believed_until_an_operator_says_so() {
        let (now, last_ms) = (Instant::now(), 1_000_000_000);
        let wall_us = 1_000_000_000_000 + 365 * DAY_US;
        let clock = Clock::start_at(at(last_ms), false, wall_us, now);
        assert!(clock.expiry_halted());
        let later = clock.now_at(wall_us + 2_000_000, now + Duration::from_secs(2));
        assert_eq!(later.stamp_ms, last_ms + 2_000);
        // A stamp of an earlier run is still shown by the wall clock's time, without a correction.
        assert_eq!(later.left_ms(last_ms + 62_000), 60_000);
        let clock = Clock::start_at(at(last_ms), true, wall_us, now);
        assert!(!clock.expiry_halted());
        assert_eq!(clock.advance(wall_us, now), wall_us);
    }

    #[test]
    fn a_jump_is_not_believed_at_the_next_start_either() {
        let (now, last_ms) = (Instant::now(), 1_000_000_000);
        let wall_us = 1_000_000_000_000 + 365 * DAY_US;
        // Batches since the jump say what the wall clock said.
        let last = LastStamp { stamp_ms: last_ms, wall_ms: u64::try_from(wall_us / 1_000).unwrap() };
        assert!(Clock::start_at(last, false, wall_us + 2_000_000, now).expiry_halted());
        let clock = Clock::start_at(last, true, wall_us + 2_000_000, now);
        assert_eq!((clock.expiry_halted(), clock.advance(wall_us, now)), (false, wall_us + 2_000_000));
        // Stamps far ahead of a wall clock that jumps.
        let last = LastStamp { stamp_ms: last_ms, wall_ms: last_ms / 1_000 };
        assert!(Clock::start_at(last, false, 1_000_000_000 + 8 * DAY_US, now).expiry_halted());
    }

    #[test]
    fn the_first_start_and_six_days_off_are_believed() {
        let now = Instant::now();
        assert!(!Clock::start_at(at(0), false, 365 * DAY_US, now).expiry_halted());
        let clock = Clock::start_at(at(1_000), false, 6 * DAY_US, now);
        assert_eq!(clock.advance(6 * DAY_US, now), 6 * DAY_US);
    }

    #[test]
    fn a_jump_while_running_is_slewed_and_stamps_never_go_back() {
        let now = Instant::now();
        let clock = Clock::start_at(at(0), false, DAY_US, now);
        assert_eq!(clock.advance(2 * DAY_US, now + Duration::from_secs(100)), DAY_US + 101_000_000);
        assert_eq!(clock.advance(0, now + Duration::from_secs(200)), DAY_US + 200_000_000);
        let mut last = 0;
        for step in 0..10_000u64 {
            let stamp = clock.advance(0, now + Duration::from_micros(200_000_000 + 7 * step));
            assert!(stamp >= last);
            last = stamp;
        }
    }

    /// Readings every ten seconds, of a wall clock that is set after the first one.
    fn readings(set_us: i64) -> impl Iterator<Item = (u64, Now)> {
        let now = Instant::now();
        let clock = Clock::start_at(at(0), false, DAY_US, now);
        (0..1_000).map(move |step| {
            let passed = Duration::from_secs(10 * step);
            let wall_us =
                DAY_US + i64::try_from(passed.as_micros()).unwrap() + if step > 0 { set_us } else { 0 };
            (u64::try_from(wall_us / 1_000).unwrap(), clock.now_at(wall_us, now + passed))
        })
    }

    #[test]
    fn what_is_told_is_right_at_once_when_the_wall_clock_is_set() {
        for set_us in [0, 3_000, 20_000, 5_000_000, 3_000_000_000, -20_000, -5_000_000, -3_000_000_000] {
            for (wall_ms, now) in readings(set_us) {
                assert!(
                    now.wall_ms.abs_diff(wall_ms) <= 10,
                    "{set_us}: {now:?}, the wall clock says {wall_ms}"
                );
                assert_eq!(now.shown_ms(now.stamp_ms), now.wall_ms);
            }
        }
    }

    #[test]
    fn a_deadline_stays_where_it_was_told_and_comes_no_earlier() {
        for set_us in [5_000_000, 3_000_000_000, -5_000_000, -3_000_000_000] {
            let (_, first) = readings(set_us).nth(1).unwrap();
            let due_ms = first.stamp_ms + 600_000;
            let shown_ms = first.shown_ms(due_ms);
            let passed = readings(set_us).skip(1).find(|(_, now)| now.stamp_ms >= due_ms).unwrap().1;
            assert!(passed.wall_ms >= shown_ms, "{set_us}: told {shown_ms}, passed at {}", passed.wall_ms);
            // Stamps behind the wall clock advance more slowly than the shown time; there is a reading every ten
            // seconds.
            assert!(
                passed.wall_ms - shown_ms <= 17_000,
                "{set_us}: told {shown_ms}, passed at {}",
                passed.wall_ms
            );
            assert_eq!(passed.left_ms(due_ms), 0);
        }
    }

    #[test]
    fn a_clock_before_1970_tells_nothing() {
        let now = Clock::start_at(at(7_000), false, 0, Instant::now()).now_at(0, Instant::now());
        assert_eq!((now.stamp_ms, now.wall_ms, now.left_ms(8_000)), (7_000, 7_000, 1_000));
    }

    #[test]
    fn a_start_counts_what_has_passed_by_the_wall_clock_whatever_it_said_before() {
        let (now, minute_us) = (Instant::now(), 60_000_000);
        let ms = |us: i64| u64::try_from(us / 1_000).unwrap();
        // Stamps are 50 minutes ahead, behind, and right; a minute passes without a server.
        for ahead_us in [50 * minute_us, -50 * minute_us, 0] {
            let last = LastStamp { stamp_ms: ms(DAY_US + ahead_us), wall_ms: ms(DAY_US) };
            let clock = Clock::start_at(last, false, DAY_US + minute_us, now);
            assert_eq!(clock.advance(DAY_US + minute_us, now), DAY_US + ahead_us + minute_us);
            // An operator says that the wall clock is right, whatever stamps were.
            let clock = Clock::start_at(last, true, DAY_US + minute_us, now);
            assert_eq!(clock.advance(DAY_US + minute_us, now), DAY_US + minute_us + ahead_us.max(0));
            // It was set back meanwhile: nothing is known to have passed.
            let clock = Clock::start_at(last, false, DAY_US - minute_us, now);
            assert_eq!(clock.advance(DAY_US - minute_us, now), DAY_US + ahead_us);
        }
    }
}
