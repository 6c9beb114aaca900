//! Logs when the wall clock and the time of batches differ by much: once, again when the difference changes much, and
//! when it is over.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::Clock;

/// The difference from which on it is logged.
pub(crate) const MUCH_MS: u64 = 1_000;
/// How often the difference is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The difference that was logged last.
#[derive(Debug, Default)]
struct Alarm {
    logged_ms: Option<i64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Differs,
    Over,
}

impl Alarm {
    /// What to log of a difference, if anything.
    fn check(&mut self, ahead_ms: i64) -> Option<Word> {
        let much = ahead_ms.unsigned_abs() >= MUCH_MS;
        let word = match self.logged_ms {
            None => much.then_some(Word::Differs)?,
            // Not again and again for one that is about as large.
            Some(_) if ahead_ms.unsigned_abs() < MUCH_MS / 2 => Word::Over,
            Some(logged) => {
                let changed = ahead_ms.abs_diff(logged) >= MUCH_MS.max(logged.unsigned_abs() / 2);
                (much && changed).then_some(Word::Differs)?
            }
        };
        self.logged_ms = (word == Word::Differs).then_some(ahead_ms);
        Some(word)
    }
}

impl Clock {
    /// Watches the difference for as long as it is polled.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut alarm = Alarm::default();
        loop {
            let ahead_ms = self.wall_ahead_ms();
            match alarm.check(ahead_ms) {
                None => {}
                Some(Word::Differs) => warn!(
                    wall_clock_ahead_seconds = ahead_ms as f64 / 1_000.0,
                    "the wall clock and the time of batches differ: look at the server's clock. What is told goes \
                     by the wall clock; leases, retries and waiting times go by the time of batches, which is drawn \
                     towards it by at most one hundredth, so that nothing expires early"
                ),
                Some(Word::Over) => info!("the wall clock and the time of batches agree again"),
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_once_and_again_when_it_changes_much_or_is_gone() {
        let mut alarm = Alarm::default();
        let mut check = |ahead_ms| alarm.check(ahead_ms);
        assert_eq!([0, 999, -999].map(&mut check), [None, None, None]);
        assert_eq!(check(-3_000_000), Some(Word::Differs));
        assert_eq!([-2_999_000, -2_000_000, -3_900_000].map(&mut check), [None, None, None]);
        assert_eq!([-1_499_000, -1_400_000].map(&mut check), [Some(Word::Differs), None]);
        assert_eq!([1_400_000, 1_500].map(&mut check), [Some(Word::Differs), Some(Word::Differs)]);
        // It shrinks below the bound, which is not yet the end of it.
        assert_eq!([800, 600, 499, 0].map(&mut check), [None, None, Some(Word::Over), None]);
        assert_eq!(check(1_000), Some(Word::Differs));
    }

    #[test]
    fn over_an_error_that_goes_away_slowly_it_is_told_a_few_times() {
        let mut alarm = Alarm::default();
        let logged = (0..300_000).filter(|second| alarm.check(3_000_000 - 10 * second).is_some()).count();
        assert!((8..=16).contains(&logged), "{logged}");
    }
}
