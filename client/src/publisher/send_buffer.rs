use std::sync::OnceLock;

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use super::{PublishError, batch::Reserved};

/// The bounds of a publisher's unanswered messages, and the error with which it ended.
#[derive(Debug)]
pub(super) struct SendBuffer {
    bytes: Semaphore,
    messages: Semaphore,
    max_bytes: usize,
    max_messages: usize,
    end: OnceLock<PublishError>,
}

impl SendBuffer {
    pub(super) fn new(max_bytes: usize, max_messages: usize) -> Self {
        let (bytes, messages) = (Semaphore::new(max_bytes), Semaphore::new(max_messages));
        Self { bytes, messages, max_bytes, max_messages, end: OnceLock::new() }
    }

    /// Waits for space for `count` messages of `cost` bytes, in the order of the calls, and returns the bytes reserved.
    /// A message larger than the buffer reserves all of it.
    pub(super) async fn reserve(&self, count: u32, cost: usize) -> Result<usize, PublishError> {
        let bytes = self.bytes_of(cost);
        let message = self.messages.acquire_many(count).await.map_err(|_| self.end())?;
        let permit = self.bytes.acquire_many(bytes).await.map_err(|_| self.end())?;
        Ok(forget(message, permit, bytes))
    }

    /// Reserves space for one message without waiting; `None` if there is none.
    pub(super) fn try_reserve(&self, cost: usize) -> Result<Option<usize>, PublishError> {
        let bytes = self.bytes_of(cost);
        let reserved = self.messages.try_acquire().and_then(|message| {
            let permit = self.bytes.try_acquire_many(bytes)?;
            Ok(forget(message, permit, bytes))
        });
        match reserved {
            Ok(bytes) => Ok(Some(bytes)),
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(self.end()),
        }
    }

    pub(super) fn release(&self, freed: Reserved) {
        if freed.messages > 0 {
            self.bytes.add_permits(freed.bytes);
            self.messages.add_permits(freed.messages);
        }
    }

    /// The number of messages with space in the buffer.
    pub(super) fn unanswered(&self) -> usize {
        self.max_messages.saturating_sub(self.messages.available_permits())
    }

    /// Refuses all further messages, and those that wait, with this error.
    pub(super) fn close(&self, error: PublishError) {
        // The first error stays.
        let _ = self.end.set(error);
        self.bytes.close();
        self.messages.close();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    pub(super) fn end(&self) -> PublishError {
        self.end.get().cloned().unwrap_or(PublishError::Closed)
    }

    fn bytes_of(&self, cost: usize) -> u32 {
        u32::try_from(cost.min(self.max_bytes)).unwrap_or(u32::MAX)
    }
}

/// Keeps the space reserved after the permits are dropped; the answer releases it.
fn forget(message: SemaphorePermit<'_>, permit: SemaphorePermit<'_>, bytes: u32) -> usize {
    message.forget();
    permit.forget();
    bytes as usize
}
