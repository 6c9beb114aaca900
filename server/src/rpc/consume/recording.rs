//! RecordSlots for the records of a stream's deliveries: nothing leaves before it has one.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    limits::ACCESS_PATIENCE,
    observe::{Observer, RecordSlot},
    rpc::consume::telemetry::slots_of,
};

type Waiting = Pin<Box<dyn Future<Output = RecordSlot> + Send>>;

/// A stream's wait for places.
pub(crate) struct Recording {
    observer: Arc<Observer>,
    waiting: Option<(Waiting, Instant)>,
    slots: Option<RecordSlot>,
}

impl Recording {
    pub(crate) fn new(observer: &Arc<Observer>) -> Self {
        Self { observer: Arc::clone(observer), waiting: None, slots: None }
    }

    /// Returns when so many deliveries can be recorded, or at once where they are not. Goes on where it was when it is asked again.
    pub(crate) async fn ready(&mut self, deliveries: usize) {
        if self.slots.is_some() || !self.observer.access.keeps_messages() {
            return;
        }
        let (waiting, _) = self.waiting.get_or_insert_with(|| {
            let observer = Arc::clone(&self.observer);
            let slots = async move { observer.access.reserve_many(slots_of(deliveries)).await };
            (Box::pin(slots), Instant::now())
        });
        let slots = waiting.as_mut().await;
        (self.slots, self.waiting) = (Some(slots), None);
    }

    /// The places for the deliveries that leave now.
    pub(crate) fn take(&mut self) -> Option<RecordSlot> {
        self.slots.take()
    }

    /// Whether what waits to leave has waited too long to be kept from others.
    pub(crate) fn is_late(&self) -> bool {
        let waited = |since: &Instant| since.elapsed();
        self.waiting.as_ref().map_or(Duration::ZERO, |(_, since)| waited(since)) >= ACCESS_PATIENCE
    }

    /// Nothing waits to leave any more.
    pub(crate) fn forget(&mut self) {
        (self.waiting, self.slots) = (None, None);
    }
}
