//! A folder's lock, with patience for the one before us.

use std::{
    fs::{File, TryLockError},
    time::{Duration, Instant},
};

/// A process that was killed holds its locks until the kernel has released its memory.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Locks `file` for this process, waiting up to two seconds for one that is just ending.
///
/// # Errors
/// As [`File::try_lock`].
pub fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            decided => return decided,
        }
    }
}
