//! Frames of HTTP/2 as they arrive, before the library reads them: control frames are weighed against the data that
//! moves.
//!
//! A PING, a SETTINGS or a WINDOW_UPDATE costs the server more than its sender, and the library accepts any number of
//! them. So each has a price in bytes, which the bytes that move in either direction pay. What they cannot pay is taken
//! from an allowance that is refilled with time.

use std::time::Instant;

use thiserror::Error;

use crate::limits::{
    CONTROL_FRAME_BYTES, CONTROL_FRAMES_ALLOWED, CONTROL_FRAMES_PER_SECOND, CONTROL_FRAMES_SAVED,
    DATA_FRAME_BYTES, SMALL_DATA_BYTES,
};

const PREFACE: usize = 24;
const HEAD: usize = 9;
/// A frame of one byte of data.
pub(super) const LEAST_DATA_FRAME: usize = HEAD + 1;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const PADDED: u8 = 8;

/// The bytes that the server writes to answer a PING or a SETTINGS: no data.
const PONG: i64 = 17;
const SETTINGS_ACK: i64 = 9;

/// The client has sent more control frames than the data that moves accounts for. The label says of which kind the last
/// was.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("more control frames than the data that moves accounts for, the last of them {0}")]
pub(super) struct Flood(pub(super) &'static str);

/// Reads the heads of frames, which may be split anywhere, and keeps the balance. The content of frames is not read.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the preface, or of a frame's body, that are still expected.
    left: usize,
    head: [u8; HEAD],
    filled: usize,
    /// The youngest stream.
    last_stream: u32,
    balance: Balance,
}

#[derive(Debug)]
struct Balance {
    bytes: i64,
    at: Instant,
    /// The least it was, for the log.
    least: i64,
}

impl Frames {
    pub(super) fn new(now: Instant) -> Self {
        let bytes = CONTROL_FRAMES_ALLOWED * CONTROL_FRAME_BYTES;
        let balance = Balance { bytes, at: now, least: bytes };
        Self { left: PREFACE, head: [0; HEAD], filled: 0, last_stream: 0, balance }
    }

    /// Counts bytes that have arrived. Returns how many small frames of data have begun in them.
    pub(super) fn read(&mut self, mut bytes: &[u8], now: Instant) -> Result<usize, Flood> {
        self.balance.refill(now);
        let mut small = 0;
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(small);
            }
            let wanted = (HEAD - self.filled).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            if let Some(unfilled) = self.head.get_mut(self.filled..self.filled + wanted) {
                unfilled.copy_from_slice(head);
            }
            bytes = rest;
            self.filled += wanted;
            if self.filled == HEAD {
                self.filled = 0;
                small += usize::from(self.begin()?);
            }
        }
    }

    /// Takes note of bytes that were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.balance.earn(bytes);
    }

    /// Bytes of the frame that is coming, which hold no other.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// The least that the balance was, in control frames.
    pub(super) fn least(&self) -> i64 {
        self.balance.least / CONTROL_FRAME_BYTES
    }

    /// Weighs the frame of a complete head. Returns whether it is a small frame of data.
    fn begin(&mut self) -> Result<bool, Flood> {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.left = length;
        let balance = &mut self.balance;
        match kind {
            0 if flags & PADDED != 0 => balance.pay(CONTROL_FRAME_BYTES, "padded_data")?,
            0 if length == 0 && flags & END_STREAM == 0 => balance.pay(CONTROL_FRAME_BYTES, "empty_data")?,
            0 => {
                balance.earn(length);
                if length > 0 {
                    balance.pay(DATA_FRAME_BYTES, "small_data")?;
                }
                return Ok((1..SMALL_DATA_BYTES).contains(&length));
            }
            // A new call pays for the further frames that its client sends for it, and for its reset.
            1 if stream > self.last_stream => {
                self.last_stream = stream;
                balance.earn(2 * CONTROL_FRAME_BYTES.unsigned_abs() as usize);
            }
            1 => balance.pay(CONTROL_FRAME_BYTES, "headers")?,
            2 => balance.pay(CONTROL_FRAME_BYTES, "priority")?,
            // A call that is reset has cost the start of its handler.
            3 => balance.pay(3 * CONTROL_FRAME_BYTES, "reset")?,
            4 if flags & ACK == 0 => balance.pay(2 * CONTROL_FRAME_BYTES + SETTINGS_ACK, "settings")?,
            4 => balance.pay(CONTROL_FRAME_BYTES, "settings")?,
            6 if flags & ACK == 0 => balance.pay(CONTROL_FRAME_BYTES + PONG, "ping")?,
            6 => balance.pay(CONTROL_FRAME_BYTES, "ping")?,
            8 => balance.pay(CONTROL_FRAME_BYTES, "window_update")?,
            9 => balance.pay(CONTROL_FRAME_BYTES, "continuation")?,
            _ => balance.pay(CONTROL_FRAME_BYTES, "other")?,
        }
        Ok(false)
    }
}

impl Balance {
    /// Time fills up the allowance, and no more.
    fn refill(&mut self, now: Instant) {
        let allowed = CONTROL_FRAMES_ALLOWED * CONTROL_FRAME_BYTES;
        let passed = now.saturating_duration_since(self.at).as_millis();
        let earned = i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(CONTROL_FRAMES_PER_SECOND)
            / 1_000
            * CONTROL_FRAME_BYTES;
        if self.bytes >= allowed {
            self.at = now;
        } else if earned > 0 {
            self.at = now;
            self.bytes = self.bytes.saturating_add(earned).min(allowed);
        }
    }

    fn earn(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(bytes).min(CONTROL_FRAMES_SAVED * CONTROL_FRAME_BYTES);
    }

    fn pay(&mut self, bytes: i64, kind: &'static str) -> Result<(), Flood> {
        self.bytes -= bytes;
        self.least = self.least.min(self.bytes);
        if self.bytes < 0 { Err(Flood(kind)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
