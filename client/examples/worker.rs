//! Works a queue off with four tasks until interrupted: `worker CONTEXT.toml DEPARTMENT/QUEUE`.

use std::{env, error::Error, sync::Arc, time::Duration};

use posthouse_client::{Client, Consumer, Context, Delivery};
use tokio::{signal::ctrl_c, task::JoinSet};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = env::args().skip(1);
    let (Some(context), Some(queue)) = (arguments.next(), arguments.next()) else {
        return Err("usage: worker CONTEXT.toml DEPARTMENT/QUEUE".into());
    };
    let client = Client::connect(Context::load(context)?).await?;
    let consumer = Arc::new(client.consumer(queue).credit_messages(100).open().await?);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        tasks.spawn(work(Arc::clone(&consumer)));
    }
    tokio::select! {
        ended = tasks.join_next() => if let Some(ended) = ended { ended?? },
        interrupted = ctrl_c() => interrupted?,
    }
    // What was settled is confirmed; what was not goes to another worker.
    consumer.close().await?;
    Ok(())
}

async fn work(consumer: Arc<Consumer>) -> Result<(), Box<dyn Error + Send + Sync>> {
    while let Some(delivery) = consumer.next().await? {
        let settled = match handle(&delivery) {
            Ok(()) => delivery.ack().await,
            // Not the message's fault: try again later.
            Err(Failure::NotNow) => delivery.nack(Duration::from_secs(10)).await,
            Err(Failure::Never) => delivery.dead_letter().await,
        };
        if let Err(error) = settled {
            eprintln!("{error}");
        }
    }
    Ok(())
}

enum Failure {
    NotNow,
    Never,
}

fn handle(delivery: &Delivery) -> Result<(), Failure> {
    let text = std::str::from_utf8(delivery.payload()).map_err(|_| Failure::Never)?;
    if text.is_empty() && delivery.attempt() < 3 {
        return Err(Failure::NotNow);
    }
    println!("{text}");
    Ok(())
}
