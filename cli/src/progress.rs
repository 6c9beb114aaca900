//! How far a long command has come, on a terminal; in a pipe and with --quiet there is nothing to see.

use std::{
    io, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::{stdio, termios::tcgetwinsize};

use crate::stderr;

/// Drawn so often a second.
const HZ: u8 = 5;
/// The columns of a terminal that does not tell.
const USUAL_WIDTH: u16 = 80;

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
            // What is written to stdout next must not come before the line is gone.
            stderr::flush();
        }
    }
}

/// The terminal on stderr, as far as one line needs it. What is drawn is handed over whole: a terminal that takes nothing holds
/// nobody up.
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

    /// A movement, so many times.
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
        // Tests run without a terminal on stderr, or with --quiet they are none the wiser.
        for progress in [Progress::none(), Progress::counting(true, "stored"), Progress::of_bytes(true, 7)] {
            progress.add(1);
            assert!(progress.0.is_hidden());
        }
    }
}
