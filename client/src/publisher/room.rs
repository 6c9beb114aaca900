use std::sync::OnceLock;

use tokio::sync::Semaphore;

use super::PublishError;

/// The bytes that a publisher may still buffer, and the error it ended with.
#[derive(Debug)]
pub(super) struct Room {
    free: Semaphore,
    size: usize,
    end: OnceLock<PublishError>,
}

impl Room {
    pub(super) fn new(size: usize) -> Self {
        Self { free: Semaphore::new(size), size, end: OnceLock::new() }
    }

    /// Waits for room, in the order of asking, and returns what was taken. A message that is larger than all of it
    /// takes all of it.
    pub(super) async fn take(&self, cost: usize) -> Result<usize, PublishError> {
        let cost = cost.min(self.size);
        let permits = u32::try_from(cost).unwrap_or(u32::MAX);
        match self.free.acquire_many(permits).await {
            Ok(permit) => {
                permit.forget();
                Ok(permits as usize)
            }
            Err(_) => Err(self.end()),
        }
    }

    pub(super) fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.free.add_permits(bytes);
        }
    }

    /// Nothing more is taken; whoever waits is told why.
    pub(super) fn close(&self, error: PublishError) {
        // The first reason is the one that is told.
        let _ = self.end.set(error);
        self.free.close();
    }

    pub(super) fn end(&self) -> PublishError {
        self.end.get().cloned().unwrap_or(PublishError::Closed)
    }
}
