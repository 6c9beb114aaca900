//! What is printed, and what is written for machines.

use std::{fs::File, io::Write as _, path::Path};

use posthouse_tests::attack::Counts;
use serde_json::{Value, json};

pub struct Results {
    out: Option<File>,
    passed: Vec<String>,
}

impl Results {
    pub fn new(out: Option<&Path>) -> Self {
        Self { out: out.map(|path| File::create(path).expect("the file for results")), passed: Vec::new() }
    }

    /// Adds a result: a line for people, an object for machines, and the limits that were passed.
    pub fn add(&mut self, name: &str, line: &str, mut object: Value, passed: &[String]) {
        let verdict =
            if passed.is_empty() { String::new() } else { format!("   PASSED: {}", passed.join(", ")) };
        println!("{name:<28} {line}{verdict}");
        object["attack"] = name.into();
        object["limits_passed"] = json!(passed);
        self.write(&object);
        self.passed.extend(passed.iter().map(|limit| format!("{name}: {limit}")));
    }

    fn write(&mut self, object: &Value) {
        if let Some(out) = &mut self.out {
            writeln!(out, "{object}").expect("the file for results");
        }
    }

    /// How many limits were passed.
    pub fn passed(&self) -> usize {
        self.passed.len()
    }

    pub fn close(&self) {
        match self.passed.len() {
            0 => println!("\nno limit was passed"),
            count => println!("\n{count} limits were passed:\n  {}", self.passed.join("\n  ")),
        }
    }
}

pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The counts of an attack, for machines.
pub fn counts_json(counts: &Counts) -> Value {
    json!({
        "done": counts.done, "sent_bytes": counts.sent, "received_bytes": counts.received,
        "connections": counts.connections, "answered": counts.answered, "refused": counts.refused,
        "resets": counts.resets, "ends": counts.ends,
    })
}

/// The median of some numbers, or 0 if there are none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match (numbers.len(), numbers.len() / 2) {
        (0, _) => 0.0,
        (count, middle) if count % 2 == 1 => numbers[middle],
        (_, middle) => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}
