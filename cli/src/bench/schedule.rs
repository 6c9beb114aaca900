//! When messages are due.

use tokio::time::{Duration, Instant, sleep_until};

const NANOS: u128 = 1_000_000_000;

/// The messages of all streams, numbered from 0 and assigned to the streams in turn.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// When the first message is due.
    pub start: Instant,
    /// Messages per second; `None`: each is due when it can be sent.
    pub rate: Option<u32>,
    /// Number of messages.
    pub count: u64,
    /// Number of streams.
    pub streams: u64,
}

impl Schedule {
    /// The numbers of a stream's messages.
    pub fn share(&self, stream: u64) -> impl Iterator<Item = u64> + use<> {
        let step = usize::try_from(self.streams).unwrap_or(usize::MAX);
        (stream..self.count).step_by(step)
    }

    /// Waits until a message is due, and returns the moment when it was. A message that is sent late still counts from
    /// that moment.
    pub async fn wait(&self, number: u64) -> Instant {
        let Some(due) = self.due(number) else { return Instant::now() };
        if due > Instant::now() {
            sleep_until(due).await;
        }
        due
    }

    fn due(&self, number: u64) -> Option<Instant> {
        let nanos = u128::from(number) * NANOS / u128::from(self.rate?);
        Some(self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: Option<u32>, count: u64, streams: u64) -> Schedule {
        Schedule { start: Instant::now(), rate, count, streams }
    }

    #[test]
    fn every_message_is_dealt_to_one_stream() {
        for (count, streams) in [(0, 3), (1, 3), (10, 3), (9, 3), (2, 5)] {
            let schedule = schedule(None, count, streams);
            let mut dealt: Vec<u64> = (0..streams).flat_map(|stream| schedule.share(stream)).collect();
            dealt.sort_unstable();
            assert_eq!(dealt, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn messages_are_due_evenly_and_do_not_drift() {
        let schedule = schedule(Some(3), 100, 2);
        let due = |number| schedule.due(number).unwrap() - schedule.start;
        assert_eq!(due(0), Duration::ZERO);
        assert_eq!(due(1), Duration::from_nanos(333_333_333));
        assert_eq!(due(3_000_000_000), Duration::from_secs(1_000_000_000));
    }

    #[tokio::test]
    async fn a_late_message_counts_from_its_moment() {
        let mut schedule = schedule(Some(1_000), 100, 1);
        schedule.start -= Duration::from_secs(5);
        // It was due 4.9 s ago, although it is sent only now.
        assert_eq!(schedule.wait(100).await, schedule.start + Duration::from_millis(100));
    }

    #[tokio::test]
    async fn without_a_rate_a_message_is_due_now() {
        let before = Instant::now();
        assert!(schedule(None, 10, 1).wait(9).await >= before);
    }
}
