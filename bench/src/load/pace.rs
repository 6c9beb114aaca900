//! When messages are due, and the thread that wakes their senders.
//!
//! The timers of tokio count whole milliseconds: with them a message is sent up to two milliseconds late, which is
//! longer than some systems take to store and deliver it.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Longest sleep of the thread, so that it soon notices the end of the load.
const MAX_SLEEP: Duration = Duration::from_millis(50);

/// When the messages of one connection are due.
#[derive(Debug, Clone)]
pub struct Schedule {
    origin: Instant,
    /// Time between two messages of this connection; `None`: each is due when it is sent.
    interval: Option<Duration>,
    due: Duration,
    begins: Arc<Notify>,
}

impl Schedule {
    /// Schedules of connections that send in turn at a rate, from `origin` on. Without a rate every message is due at
    /// once.
    pub fn all(
        origin: Instant,
        rate: Option<f64>,
        connections: usize,
        stop: &CancellationToken,
    ) -> Result<Vec<Self>> {
        let every = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let each = |number: usize| Self {
            origin,
            interval: every.map(|every| every.mul_f64(connections as f64)),
            due: every.map_or(Duration::ZERO, |every| every.mul_f64(number as f64)),
            begins: Arc::default(),
        };
        let schedules: Vec<Self> = (0..connections).map(each).collect();
        if every.is_some() {
            let (paced, stop) = (schedules.clone(), stop.clone());
            thread::Builder::new()
                .name("pace".into())
                .spawn(move || pace(paced, &stop))
                .context("the thread that keeps the pace")?;
        }
        Ok(schedules)
    }

    /// Waits until a message is due. Returns how many are due by then, at most `max`.
    pub async fn wait(&self, max: usize) -> usize {
        let Some(interval) = self.interval else { return max };
        let due = self.origin + self.due;
        while due > Instant::now() {
            self.begins.notified().await;
        }
        let late = Instant::now().saturating_duration_since(due);
        let more = (late.as_secs_f64() / interval.as_secs_f64()) as usize;
        (1 + more).min(max)
    }

    /// The moment at which the next message is due.
    pub fn next(&mut self) -> Instant {
        let Some(interval) = self.interval else { return Instant::now() };
        let due = self.origin + self.due;
        self.due += interval;
        due
    }
}

/// Wakes each sender when its next message is due, until the load ends. The system's timer may sleep 50 microseconds
/// longer, so that one wake can be for several messages.
fn pace(mut schedules: Vec<Schedule>, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let now = Instant::now();
        let Some(first) = schedules.iter().map(|schedule| schedule.origin + schedule.due).min() else {
            return;
        };
        if first > now {
            thread::sleep((first - now).min(MAX_SLEEP));
            continue;
        }
        for schedule in &mut schedules {
            if schedule.origin + schedule.due <= now {
                schedule.begins.notify_one();
            }
            while schedule.origin + schedule.due <= now {
                schedule.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_due_in_turns_and_none_is_waited_for_before_its_moment() {
        let (origin, stop) = (Instant::now(), CancellationToken::new());
        let schedules = Schedule::all(origin, Some(2_000.0), 2, &stop).unwrap();
        for (number, mut schedule) in schedules.into_iter().enumerate() {
            let mut due_count = 0;
            while due_count < 100 {
                let count = schedule.wait(30).await;
                assert!((1..=30).contains(&count));
                for _ in 0..count {
                    let due = schedule.next();
                    let nth = (2 * due_count + number) as u32;
                    assert_eq!(
                        due - origin,
                        Duration::from_micros(500) * nth,
                        "message {due_count} of {number}"
                    );
                    assert!(due <= Instant::now());
                    due_count += 1;
                }
            }
        }
        stop.cancel();
    }

    #[tokio::test]
    async fn without_a_rate_nothing_is_waited_for() {
        let schedules = Schedule::all(Instant::now(), None, 1, &CancellationToken::new()).unwrap();
        assert_eq!(schedules[0].wait(17).await, 17);
    }
}
