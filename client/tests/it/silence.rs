//! A server that sends nothing. The test moves a paused clock; bytes move in real time.

use std::{sync::mpsc, thread, time::Duration};

use tokio::task::{spawn_blocking, yield_now};

use crate::fake::{Fake, QUEUE};

/// Keeps a paused clock from advancing while the runtime only waits for bytes.
struct Hold {
    _clock: mpsc::Sender<()>,
}

impl Hold {
    fn clock() -> Self {
        let (sender, receiver) = mpsc::channel::<()>();
        tokio::time::pause();
        spawn_blocking(move || _ = receiver.recv());
        Self { _clock: sender }
    }

    /// Advances the clock in steps that leave every task time to run.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            really(5).await;
        }
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..2000 {
            if holds() {
                return;
            }
            // In small steps, for nearly a minute in total: the last frame of the other side may have arrived after the
            // clock was paused, and the silence is counted from there.
            tokio::time::advance(Duration::from_millis(25)).await;
            really(2).await;
        }
        panic!("not in time: {what}");
    }
}

/// Waits in real time, and yields to every task many times, which on a busy machine is not the same: client and server
/// share this thread, and an answer that is due within seconds of the paused clock needs several polls of each.
async fn really(milliseconds: u64) {
    spawn_blocking(move || thread::sleep(Duration::from_millis(milliseconds))).await.unwrap();
    for _ in 0..100 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_the_stream_ends_without_an_answer() {
    let fake = Fake::start().await;
    let consumer = fake.client().await.consumer(QUEUE).open().await.unwrap();
    let hold = Hold::clock();
    hold.pass(31).await;
    hold.until("a ping", || fake.records().leases.pings >= 1).await;
    let streams = || *fake.records().leases.sessions.values().next().unwrap();
    assert_eq!(streams(), 1, "the answer is enough");
    fake.records().leases.deaf = true;
    hold.pass(46).await;
    hold.until("another stream", || streams() == 2).await;
    fake.records().leases.deaf = false;
    fake.records().leases.put("one");
    let working = tokio::spawn(async move {
        consumer.next().await.unwrap().unwrap().ack().await.unwrap();
        consumer
    });
    hold.until("it is acked", || fake.records().leases.acked == [1] && working.is_finished()).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_batches_is_left() {
    let fake = Fake::start().await;
    let publisher = fake.client().await.publisher(QUEUE).open().await.unwrap();
    let hold = Hold::clock();
    fake.records().producers.mute = true;
    let mut ack = publisher.publish("x").await.unwrap();
    hold.until("it is stored", || fake.records().producers.stored.len() == 1).await;
    let accepted = fake.wire.accepted();
    fake.records().producers.mute = false;
    hold.pass(61).await;
    hold.until("another connection", || fake.wire.accepted() > accepted).await;
    hold.until("the answer", || publisher.unanswered() == 0).await;
    assert!((&mut ack).await.unwrap().duplicate, "it had been stored");
}
