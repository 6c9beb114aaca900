//! Progress of a long command, shown on a terminal unless --quiet is given.

use std::{
    io, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::{stdio, termios::tcgetwinsize};

use crate::stderr;

/// Updates per second.
const HZ: u8 = 5;
/// Columns of a terminal that does not report its size.
const USUAL_WIDTH: u16 = 80;

/// A line on stderr, which is cleared when this is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows nothing.
    pub fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// A counter without a total. `what` follows the number: "stored".
    pub fn counting(quiet: bool, what: &str) -> Self {
        Self::styled(quiet, None, &format!("{{spinner}} {{human_pos}} {what}, {{per_sec}}, {{elapsed}}"))
    }

    /// A counter up to a total.
    pub fn of(quiet: bool, total: u64, what: &str) -> Self {
        let template =
            format!("[{{wide_bar}}] {{human_pos}} of {{human_len}} {what}, {{per_sec}}, {{eta}} left");
        Self::styled(quiet, Some(total), &template)
    }

    /// A counter of a file's bytes, up to its size.
    pub fn of_bytes(quiet: bool, total: u64) -> Self {
        Self::styled(quiet, Some(total), "[{wide_bar}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
    }

    /// Shows the current step.
    pub fn steps(quiet: bool) -> Self {
        Self::styled(quiet, None, "{spinner} {msg}")
    }

    /// Adds to the counter.
    pub fn add(&self, done: u64) {
        self.0.inc(done);
    }

    /// Sets the current step.
    pub fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    fn styled(quiet: bool, total: Option<u64>, template: &str) -> Self {
        if quiet || !stderr::is_terminal() {
            return Self::none();
        }
        let screen = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), HZ);
        let bar = ProgressBar::with_draw_target(total, screen);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.0.is_hidden() {
            self.0.finish_and_clear();
            // The line must be cleared before anything else is written to stdout.
            stderr::flush();
        }
    }
}

/// The terminal on stderr, as indicatif needs it. What is drawn is queued as a whole, so that a blocked terminal blocks
/// nobody.
#[derive(Debug, Default)]
struct Screen(Mutex<Vec<u8>>);

impl Screen {
    fn drawn(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn().extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Moves the cursor.
    fn go(&self, times: usize, to: char) -> io::Result<()> {
        if times == 0 { Ok(()) } else { self.draw(&format!("\u{1b}[{times}{to}")) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        let columns = tcgetwinsize(stdio::stderr()).map_or(0, |size| size.ws_col);
        if columns == 0 { USUAL_WIDTH } else { columns }
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'A')
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'B')
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'C')
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(text)?;
        self.draw("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        stderr::out().piece(mem::take(&mut *self.drawn()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_without_a_terminal() {
        // stderr of a test is no terminal.
        for progress in [Progress::none(), Progress::counting(true, "stored"), Progress::of_bytes(true, 7)] {
            progress.add(1);
            assert!(progress.0.is_hidden());
        }
    }
}
