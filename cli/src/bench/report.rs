//! The report of a run, as a table or as JSON.

use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Duration;

use super::meter::StepTally;

/// The options of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Name of the measurement.
    pub bench: &'static str,
    /// The queue's full name.
    pub queue: String,
    /// Bytes of a payload.
    pub size: u32,
    /// Streams of either kind.
    pub streams: u16,
    /// Most messages of a publish batch.
    pub batch: u16,
    /// Messages per second in an open loop.
    pub rate: Option<u32>,
    /// Number of messages to measure.
    pub count: u64,
}

/// The report; its JSON keys are stable.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    asked: Asked,
    /// Messages that took the last step.
    messages: u64,
    errors: u64,
    /// Whether all messages were measured.
    complete: bool,
    duration_seconds: f64,
    messages_per_second: f64,
    bytes_per_second: f64,
    latency_microseconds: Latencies,
}

#[derive(Debug, Serialize)]
struct Latencies {
    /// From sending a message to the answer that it is on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<Latency>,
    /// From sending a message to its delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<Latency>,
    /// From sending a message (in `consume` from its delivery) to the answer that its settlement is on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<Latency>,
}

#[derive(Debug, Serialize)]
struct Latency {
    messages: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

impl Report {
    /// The report of measurements over this time.
    pub fn new(asked: Asked, tally: &StepTally, duration: Duration) -> Self {
        let (messages, bytes) = match asked.bench {
            "publish" => (tally.stored.len(), tally.stored.len() * u64::from(asked.size)),
            _ => (tally.settled.len(), tally.delivered_bytes),
        };
        let seconds = duration.as_secs_f64();
        let per_second = |number: u64| if seconds > 0.0 { number as f64 / seconds } else { 0.0 };
        let latency_microseconds = Latencies {
            stored: (asked.bench != "consume").then(|| Latency::of(&tally.stored)),
            delivered: (asked.bench == "pipeline").then(|| Latency::of(&tally.delivered)),
            settled: (asked.bench != "publish").then(|| Latency::of(&tally.settled)),
        };
        Self {
            messages,
            errors: tally.errors,
            complete: messages == asked.count,
            duration_seconds: seconds,
            messages_per_second: per_second(messages),
            bytes_per_second: per_second(bytes),
            latency_microseconds,
            asked,
        }
    }

    /// The report as one JSON object.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            messages: histogram.len(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { bench, queue, size, rate, count, .. } = &self.asked;
        writeln!(f, "{bench} {queue}")?;
        write!(
            f,
            "  {} of {} messages of {} bytes",
            grouped(self.messages),
            grouped(*count),
            grouped((*size).into())
        )?;
        writeln!(f, " in {:.2} s, {} errors", self.duration_seconds, grouped(self.errors))?;
        write!(f, "  {} messages/s", grouped(self.messages_per_second.round() as u64))?;
        if let Some(rate) = rate {
            write!(f, " of {} that were due", grouped((*rate).into()))?;
        }
        writeln!(f, ", {:.1} MB/s", self.bytes_per_second / 1e6)?;
        let Latencies { stored, delivered, settled } = &self.latency_microseconds;
        let title = format!("{:<12}", "latency, ms");
        writeln!(f, "  {title}{:>10}{:>10}{:>10}{:>10}{:>10}", "p50", "p90", "p99", "p99.9", "max")?;
        for (name, latency) in [("stored", stored), ("delivered", delivered), ("settled", settled)] {
            let Some(latency) = latency else { continue };
            write!(f, "  {name:<12}")?;
            for micros in [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max] {
                write!(f, "{:>10.2}", micros as f64 / 1000.0)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        // Writing to a String cannot fail.
        let _ = text.write_char(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(bench: &'static str) -> Report {
        let mut tally = StepTally::new().unwrap();
        for micros in 1..=1000 {
            tally.stored.record(micros).unwrap();
            tally.settled.record(micros * 10).unwrap();
        }
        tally.delivered.record(7).unwrap();
        tally.delivered_bytes = 500;
        tally.errors = 3;
        let asked = Asked {
            bench,
            queue: "tenants/t/departments/d/queues/q".to_owned(),
            size: 1024,
            streams: 2,
            batch: 512,
            rate: None,
            count: 1003,
        };
        Report::new(asked, &tally, Duration::from_millis(500))
    }

    fn object(bench: &'static str) -> Value {
        serde_json::from_str(&report(bench).json().unwrap()).unwrap()
    }

    #[test]
    fn each_measurement_counts_what_it_is_about() {
        let publish = object("publish");
        assert_eq!(publish["messages_per_second"], json!(2000.0));
        assert_eq!(publish["bytes_per_second"], json!(2_048_000.0));
        assert_eq!((&publish["errors"], &publish["complete"]), (&json!(3), &json!(false)));
        assert_eq!(
            publish["latency_microseconds"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["stored"]
        );
        let consume = object("consume");
        assert_eq!(consume["bytes_per_second"], json!(1000.0));
        assert_eq!(
            consume["latency_microseconds"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["settled"]
        );
        assert_eq!(object("pipeline")["latency_microseconds"].as_object().unwrap().len(), 3);
    }

    #[test]
    fn percentiles_are_of_the_messages() {
        let latency = &object("publish")["latency_microseconds"]["stored"];
        let expected = json!({
            "messages": 1000, "mean": 500.5, "p50": 500, "p90": 900, "p99": 990, "p99_9": 999, "max": 1000
        });
        assert_eq!(*latency, expected);
    }

    #[test]
    fn the_table_is_readable() {
        let text = report("pipeline").to_string();
        assert!(text.contains("1,000 of 1,003 messages of 1,024 bytes in 0.50 s, 3 errors"), "{text}");
        let settled = text.lines().last().unwrap();
        let figures: Vec<_> = settled.split_whitespace().collect();
        // Histograms have three significant digits.
        assert_eq!(figures[..3], ["settled", "5.00", "9.01"]);
    }

    #[test]
    fn a_run_of_nothing_has_a_report() {
        let Report { asked, .. } = report("consume");
        let nothing = Report::new(asked, &StepTally::new().unwrap(), Duration::ZERO);
        assert_eq!(nothing.messages_per_second, 0.0);
        assert!(nothing.json().is_ok());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
