//! How far a long command has come, on a terminal; in a pipe and with --quiet there is nothing to see.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line on stderr that is gone when this is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows nothing.
    pub fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Counts things whose number is not known before. `what` they are comes after the number: "stored".
    pub fn counting(quiet: bool, what: &str) -> Self {
        Self::styled(quiet, None, &format!("{{spinner}} {{human_pos}} {what}, {{per_sec}}, {{elapsed}}"))
    }

    /// Counts things up to a number.
    pub fn of(quiet: bool, total: u64, what: &str) -> Self {
        let template =
            format!("[{{wide_bar}}] {{human_pos}} of {{human_len}} {what}, {{per_sec}}, {{eta}} left");
        Self::styled(quiet, Some(total), &template)
    }

    /// Counts the bytes of a file up to its size.
    pub fn of_bytes(quiet: bool, total: u64) -> Self {
        Self::styled(quiet, Some(total), "[{wide_bar}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
    }

    /// Tells what is done just now.
    pub fn steps(quiet: bool) -> Self {
        Self::styled(quiet, None, "{spinner} {msg}")
    }

    /// Some more is done.
    pub fn add(&self, done: u64) {
        self.0.inc(done);
    }

    /// What is done next.
    pub fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    fn styled(quiet: bool, total: Option<u64>, template: &str) -> Self {
        if quiet {
            return Self::none();
        }
        // Hides itself where stderr is no terminal.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
        if bar.is_hidden() {
            return Self::none();
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_where_nobody_looks() {
        // Tests run without a terminal on stderr, or with --quiet they are none the wiser.
        for progress in [Progress::none(), Progress::counting(true, "stored"), Progress::of_bytes(true, 7)] {
            progress.add(1);
            assert!(progress.0.is_hidden());
        }
    }
}
