//! Handles the messages of a queue in one task until interrupted: `worker DEPARTMENT/QUEUE`, with POSTHOUSE_CONTEXT
//! set.

use std::{env, error::Error, time::Duration};

use posthouse_client::{Client, Context, Delivery};
use tokio::{signal::ctrl_c, time::sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = env::args().nth(1).ok_or("usage: worker DEPARTMENT/QUEUE")?;
    let client = Client::connect(Context::from_env()?).await?;
    // Few credits leave messages for other workers.
    let consumer = client.consumer(queue).credit_messages(4).open().await?;
    loop {
        let next = tokio::select! {
            next = consumer.next() => next?,
            interrupted = ctrl_c() => { interrupted?; None }
        };
        let Some(delivery) = next else { break };
        // The client extends the lease while this works. If it is lost all the same, another worker has the message.
        let outcome = tokio::select! {
            outcome = work(&delivery) => outcome,
            () = delivery.lease_lost() => continue,
        };
        let settled = match outcome {
            // The settlement is queued at once; confirmations share frames.
            Ok(()) => delivery.ack(),
            Err(Failure::NotNow) => delivery.nack(Duration::from_secs(10)),
            Err(Failure::Never) => delivery.dead_letter(),
        };
        drop(settled);
    }
    // This waits for confirmations, and releases what is not settled.
    consumer.close().await?;
    Ok(())
}

enum Failure {
    NotNow,
    Never,
}

async fn work(delivery: &Delivery) -> Result<(), Failure> {
    let text = std::str::from_utf8(delivery.payload()).map_err(|_| Failure::Never)?;
    if text.is_empty() && delivery.attempt() < 3 {
        return Err(Failure::NotNow);
    }
    sleep(Duration::from_millis(10)).await;
    println!("{text}");
    Ok(())
}
