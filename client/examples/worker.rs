//! Works a queue off in one task until interrupted: `worker DEPARTMENT/QUEUE`, with POSTHOUSE_CONTEXT set.

use std::{env, error::Error, time::Duration};

use posthouse_client::{Client, Context, Delivery};
use tokio::{signal::ctrl_c, time::sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = env::args().nth(1).ok_or("usage: worker DEPARTMENT/QUEUE")?;
    let client = Client::connect(Context::from_env()?).await?;
    // Few credits: what this worker cannot do soon is left to others.
    let consumer = client.consumer(queue).credit_messages(4).open().await?;
    loop {
        let next = tokio::select! {
            next = consumer.next() => next?,
            interrupted = ctrl_c() => { interrupted?; None }
        };
        let Some(delivery) = next else { break };
        // The lease is extended while this works; if it is lost all the same, another has the message.
        let outcome = tokio::select! {
            outcome = work(&delivery) => outcome,
            () = delivery.lease_lost() => continue,
        };
        let settled = match outcome {
            // On its way at once; the confirmation comes with others.
            Ok(()) => delivery.ack(),
            Err(Failure::NotNow) => delivery.nack(Duration::from_secs(10)),
            Err(Failure::Never) => delivery.dead_letter(),
        };
        drop(settled);
    }
    // What was settled is confirmed; what was not goes to another worker.
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
