//! A phase of a run: the warm-up, or the measurement.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::{
    sync::Semaphore,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    meter::{StepTally, StreamMeter},
    schedule::Schedule,
};
use crate::failure::Failure;

/// What all phases of a run share.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Number of the run, in every payload.
    pub id: u64,
    /// The origin of the times in payloads.
    pub origin: Instant,
    /// Bytes of a payload.
    pub size: u32,
    /// Acknowledge messages that this command did not publish.
    pub force: bool,
}

/// Size and speed of a phase.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Number of messages.
    pub count: u64,
    /// Number of streams of either kind.
    pub streams: u16,
    /// Messages per second.
    pub rate: Option<u32>,
    /// Most messages between publishing and settling.
    pub window: Option<u32>,
}

/// A phase, shared by its streams.
#[derive(Debug)]
pub struct Phase {
    /// The run of the phase.
    pub run: Run,
    /// When messages are due.
    pub schedule: Schedule,
    /// Slots of messages in flight, if their number is bounded.
    pub window: Option<Semaphore>,
    /// Cancelled when all messages of the phase were claimed.
    pub all_claimed: CancellationToken,
    unclaimed: AtomicU64,
    publishing: Vec<StreamMeter>,
    consuming: Vec<StreamMeter>,
}

impl Run {
    /// A new run, which begins now.
    pub fn new(size: u32, force: bool) -> Self {
        Self { id: rand::random(), origin: Instant::now(), size, force }
    }

    /// A moment as nanoseconds since the run's begin, for a payload.
    pub fn nanos(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment in a payload.
    pub fn moment(&self, nanos: u64) -> Instant {
        // Only a damaged payload can overflow.
        self.origin.checked_add(Duration::from_nanos(nanos)).unwrap_or_else(Instant::now)
    }
}

impl Phase {
    /// Begins a phase.
    pub fn begin(run: Run, extent: Extent) -> Result<Self, Failure> {
        let Extent { count, streams, rate, window } = extent;
        let meters = || (0..streams).map(|_| StreamMeter::new()).collect::<Result<Vec<_>, _>>();
        let phase = Self {
            run,
            schedule: Schedule { start: Instant::now(), rate, count, streams: streams.into() },
            window: window.map(|messages| Semaphore::new(messages as usize)),
            all_claimed: CancellationToken::new(),
            unclaimed: AtomicU64::new(count),
            publishing: meters()?,
            consuming: meters()?,
        };
        if count == 0 {
            phase.all_claimed.cancel();
        }
        Ok(phase)
    }

    /// Meter of a publishing stream.
    pub fn producer_meter(&self, stream: usize) -> &StreamMeter {
        &self.publishing[stream]
    }

    /// Meter of a consuming stream.
    pub fn consumer_meter(&self, stream: usize) -> &StreamMeter {
        &self.consuming[stream]
    }

    /// Claims a delivery for this phase; `false` if the phase has all its messages.
    pub fn claim(&self) -> bool {
        let claimed =
            self.unclaimed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if claimed == Ok(1) {
            self.all_claimed.cancel();
        }
        claimed.is_ok()
    }

    /// A message is settled or failed: its slot is free.
    pub fn release_slot(&self) {
        if let Some(window) = &self.window {
            window.add_permits(1);
        }
    }

    /// The measurements so far.
    pub fn tally(&self) -> Result<StepTally, Failure> {
        StepTally::sum(self.publishing.iter().chain(&self.consuming))
    }

    /// Time from the begin to the last step so far.
    pub fn duration(&self, tally: &StepTally) -> Duration {
        tally.duration(self.schedule.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_claimed_than_a_phase_has() {
        let extent = Extent { count: 2, streams: 1, rate: None, window: Some(1) };
        let phase = Phase::begin(Run::new(24, false), extent).unwrap();
        assert!(phase.claim() && !phase.all_claimed.is_cancelled());
        assert!(phase.claim() && phase.all_claimed.is_cancelled());
        assert!(!phase.claim());
    }

    #[test]
    fn a_phase_of_nothing_is_over() {
        let extent = Extent { count: 0, streams: 1, rate: None, window: None };
        assert!(Phase::begin(Run::new(24, false), extent).unwrap().all_claimed.is_cancelled());
    }

    #[test]
    fn a_moment_goes_through_a_payload() {
        let run = Run::new(24, false);
        let moment = run.origin + Duration::from_micros(1_234_567);
        assert_eq!(run.moment(run.nanos(moment)), moment);
    }
}
