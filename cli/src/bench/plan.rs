//! The plan of a run, from the command line and from the messages in the queue.

use super::{
    consumers::ConsumeMode,
    phase::{Extent, Run},
    report::Asked,
};
use crate::{
    args::{Bench, Load},
    exit::Exit,
    failure::Failure,
};

const DEFAULT_COUNT: u64 = 200_000;
/// Length of an open loop without --count.
const DEFAULT_SECONDS: u64 = 10;
const MAX_WARM_UP_MESSAGES: u64 = 10_000;

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Options of all measurements.
    pub load: Load,
    /// The queue's full name.
    pub queue: String,
    /// What all phases share.
    pub run: Run,
    /// Messages of the warm-up.
    pub warm_up: u64,
    /// Messages that are measured.
    pub count: u64,
    /// Whether the queue is filled before the measurement.
    pub fills: bool,
    /// Whether messages are published during the measurement.
    pub publishes: bool,
    /// Whether and how messages are consumed during the measurement.
    pub consumes: Option<ConsumeMode>,
    /// Most unsettled deliveries of a stream.
    pub credit: u32,
    bench: &'static str,
    rate: Option<u32>,
    keep: bool,
    was_empty: bool,
}

impl Plan {
    /// The plan for a queue that holds `held` messages; `None` if the count is unknown.
    pub fn of(command: &Bench, queue: String, held: Option<u64>) -> Result<Self, Failure> {
        let (bench, load, rate, credit) = match command {
            Bench::Publish { load, sending, .. } => ("publish", load, sending.rate, 0),
            Bench::Consume { load, receiving, .. } => ("consume", load, None, receiving.credit),
            Bench::Pipeline { load, sending, receiving } => {
                ("pipeline", load, sending.rate, receiving.credit)
            }
        };
        let filled = matches!(command, Bench::Consume { no_fill: true, .. });
        let count = if filled {
            filled_count(load, held.unwrap_or(0))?
        } else {
            check_empty(load, &queue, held)?;
            load.count.unwrap_or_else(|| rate.map_or(DEFAULT_COUNT, |rate| u64::from(rate) * DEFAULT_SECONDS))
        };
        let warm_up = load.warm_up.unwrap_or_else(|| (count / 20).min(MAX_WARM_UP_MESSAGES));
        Ok(Self {
            queue,
            run: Run::new(load.size, load.force),
            warm_up,
            count: if filled && load.count.is_none() { count.saturating_sub(warm_up) } else { count },
            fills: matches!(command, Bench::Consume { no_fill: false, .. }),
            publishes: !matches!(command, Bench::Consume { .. }),
            consumes: match command {
                Bench::Publish { .. } => None,
                Bench::Consume { .. } => Some(ConsumeMode::Backlog),
                Bench::Pipeline { .. } => Some(ConsumeMode::Pipeline),
            },
            credit,
            bench,
            rate,
            keep: filled || matches!(command, Bench::Publish { keep: true, .. }),
            was_empty: held == Some(0),
            load: load.clone(),
        })
    }

    /// The extent of a phase with this many messages.
    pub fn extent(&self, count: u64) -> Extent {
        // Only a closed pipeline needs a bound: there the publishers could outrun the consumers.
        let bounded = self.bench == "pipeline" && self.rate.is_none();
        let window = bounded.then_some(self.load.window);
        Extent { count, streams: self.load.streams, rate: self.rate, window }
    }

    /// Whether messages of this run may remain that nobody wants.
    pub fn must_clear(&self, ran: bool) -> bool {
        let left = self.consumes.is_none() || !ran;
        left && !self.keep && self.was_empty
    }

    /// The options for the report.
    pub fn asked(&self) -> Asked {
        Asked {
            bench: self.bench,
            queue: self.queue.clone(),
            size: self.load.size,
            streams: self.load.streams,
            batch: self.load.batch,
            rate: self.rate,
            count: self.count,
        }
    }
}

fn check_empty(load: &Load, queue: &str, held: Option<u64>) -> Result<(), Failure> {
    match held {
        Some(held) if held > 0 && !load.force => Err(Failure::new(
            Exit::BadData,
            format!("{queue} holds {held} messages"),
            "give an empty queue, or --force: what is consumed then is acknowledged, whoever published it",
        )),
        _ => Ok(()),
    }
}

/// The number of existing messages to consume.
fn filled_count(load: &Load, held: u64) -> Result<u64, Failure> {
    let wanted = load.count.map_or(1, |count| count.saturating_add(load.warm_up.unwrap_or(0)));
    if held < wanted {
        return Err(Failure::new(
            Exit::BadData,
            format!("the queue holds {held} messages, and {wanted} are to be consumed"),
            "fill it with `posthouse bench publish --keep`, or leave out --no-fill",
        ));
    }
    Ok(load.count.unwrap_or(held))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn plan(arguments: &str, held: Option<u64>) -> Result<Plan, Failure> {
        let arguments = ["posthouse", "bench"].into_iter().chain(arguments.split(' '));
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Bench { command } => Plan::of(&command, "q".to_owned(), held),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn counts() {
        let counts = |arguments, held| plan(arguments, Some(held)).map(|it| (it.warm_up, it.count)).unwrap();
        assert_eq!(counts("publish d/q", 0), (10_000, 200_000));
        assert_eq!(counts("publish d/q --rate 500", 0), (250, 5_000));
        assert_eq!(counts("pipeline d/q --count 100 --warm-up 0", 0), (0, 100));
        assert_eq!(counts("consume d/q --no-fill", 1000), (50, 950));
        assert_eq!(counts("consume d/q --no-fill --count 10", 1000), (0, 10));
    }

    #[test]
    fn a_queue_that_holds_messages_is_not_touched_unasked() {
        assert_eq!(plan("publish d/q", Some(1)).unwrap_err().exit, Exit::BadData);
        assert!(!plan("publish d/q --force", Some(1)).unwrap().must_clear(true));
        assert!(!plan("publish d/q --force", None).unwrap().must_clear(true));
        assert!(plan("consume d/q --no-fill", Some(1)).is_ok());
        assert_eq!(plan("consume d/q --no-fill", Some(0)).unwrap_err().exit, Exit::BadData);
        assert_eq!(plan("consume d/q --no-fill --count 2", Some(1)).unwrap_err().exit, Exit::BadData);
    }

    #[test]
    fn messages_that_are_left_are_cleared() {
        assert!(plan("publish d/q", Some(0)).unwrap().must_clear(true));
        assert!(!plan("publish d/q --keep", Some(0)).unwrap().must_clear(true));
        assert!(!plan("pipeline d/q", Some(0)).unwrap().must_clear(true));
        assert!(plan("pipeline d/q", Some(0)).unwrap().must_clear(false));
        assert!(!plan("consume d/q --no-fill", Some(9)).unwrap().must_clear(false));
    }

    #[test]
    fn only_a_closed_pipeline_is_bounded() {
        let window = |arguments| plan(arguments, Some(0)).unwrap().extent(1).window;
        assert_eq!(window("pipeline d/q --window 7"), Some(7));
        assert_eq!(window("pipeline d/q --rate 7"), None);
        assert_eq!(window("publish d/q"), None);
    }
}
