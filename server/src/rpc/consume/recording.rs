//! Places for the records of a stream's deliveries: nothing leaves before it has one.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    limits::ACCESS_PATIENCE,
    observe::{Observer, Place},
    rpc::consume::telemetry::places_of,
};

type Waiting = Pin<Box<dyn Future<Output = Place> + Send>>;

/// A stream's wait for places.
pub(crate) struct Recording {
    observer: Arc<Observer>,
    waiting: Option<(Waiting, Instant)>,
    places: Option<Place>,
}

impl Recording {
    pub(crate) fn new(observer: &Arc<Observer>) -> Self {
        Self { observer: Arc::clone(observer), waiting: None, places: None }
    }

    /// Returns when so many deliveries can be recorded, or at once where they are not. Goes on where it was when it is asked again.
    pub(crate) async fn ready(&mut self, deliveries: usize) {
        if self.places.is_some() || !self.observer.access.keeps_messages() {
            return;
        }
        let (waiting, _) = self.waiting.get_or_insert_with(|| {
            let observer = Arc::clone(&self.observer);
            let places = async move { observer.access.places(places_of(deliveries)).await };
            (Box::pin(places), Instant::now())
        });
        let places = waiting.as_mut().await;
        (self.places, self.waiting) = (Some(places), None);
    }

    /// The places for the deliveries that leave now.
    pub(crate) fn take(&mut self) -> Option<Place> {
        self.places.take()
    }

    /// Whether what waits to leave has waited too long to be kept from others.
    pub(crate) fn is_late(&self) -> bool {
        let waited = |since: &Instant| since.elapsed();
        self.waiting.as_ref().map_or(Duration::ZERO, |(_, since)| waited(since)) >= ACCESS_PATIENCE
    }

    /// Nothing waits to leave any more.
    pub(crate) fn forget(&mut self) {
        (self.waiting, self.places) = (None, None);
    }
}
