//! Bytes that are held until the charge is dropped.

use std::sync::Arc;

use super::{Account, Levels};

/// Bytes that are charged to an account, and released when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    levels: Arc<Levels>,
    bytes: u64,
}

impl Charge {
    pub(super) fn nothing(account: &Account) -> Self {
        Self { levels: Arc::clone(&account.0), bytes: 0 }
    }

    /// How many bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges more bytes.
    pub(crate) fn grow(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes += bytes;
        self.levels.add(bytes);
    }

    /// Releases these bytes, or all if there are fewer.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.levels.release(bytes);
    }

    /// Makes the charge this many bytes.
    pub(crate) fn set(&mut self, bytes: usize) {
        let wanted = bytes as u64;
        match wanted.checked_sub(self.bytes) {
            Some(more) => {
                self.bytes = wanted;
                self.levels.add(more);
            }
            None => self.shrink(self.bytes - wanted),
        }
    }

    /// Splits these bytes off, or all if there are fewer, as a charge of their own.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = (bytes as u64).min(self.bytes);
        self.bytes -= bytes;
        Self { levels: Arc::clone(&self.levels), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.levels.release(self.bytes);
        }
    }
}
