//! The end of a load: consumes all messages until the server reports empty queues.

use std::sync::Arc;

use posthouse_client::Event;
use tokio::task::JoinSet;

use super::{
    Shared,
    consumer::{close, open, record_answer, record_delivery},
};
use crate::{
    harness::PATIENCE,
    history::{Action, What},
};

pub(super) async fn run(shared: &Arc<Shared>, queue: &str) {
    let (number, consumer) = open(shared, queue).await;
    let mut settling = JoinSet::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, consumer.next_event());
        let event = next.await.unwrap_or_else(|_| panic!("{queue} is neither empty nor delivers"));
        match event.unwrap().unwrap() {
            Event::Delivery(delivery) => {
                let token = record_delivery(shared, number, &delivery);
                shared.record(What::SettleSent { token: token.clone(), action: Action::Ack });
                let (shared, answer) = (Arc::clone(shared), delivery.ack());
                settling.spawn(async move { record_answer(&shared, token, answer).await });
            }
            Event::Idle { waiting: 0, parked } => {
                assert_eq!(parked, 0, "{queue} has a dead-letter queue");
                break;
            }
            // A message that waits for its retry is delivered in a moment.
            _ => {}
        }
    }
    while settling.join_next().await.is_some() {}
    close(shared, number, &consumer).await;
}
