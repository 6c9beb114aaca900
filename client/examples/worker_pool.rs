//! Handles the messages of a queue with sixteen workers until interrupted: `worker_pool DEPARTMENT/QUEUE`, with
//! POSTHOUSE_CONTEXT set.

use std::{env, error::Error, sync::Arc, time::Duration};

use posthouse_client::{Client, Context, Delivery, HandlerError};
use tokio::{io::AsyncWriteExt as _, signal::ctrl_c};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = env::args().nth(1).ok_or("usage: worker_pool DEPARTMENT/QUEUE")?;
    let client = Client::connect(Context::from_env()?).await?;
    let pool = client
        .worker_pool(queue)
        .workers(16)
        .handler_timeout(Duration::from_secs(60))
        .on_failure(|failed| {
            eprintln!("{}: {:?}, {:?}", failed.delivery.message_id(), failed.kind, failed.settlement);
        })
        .start(handle)
        .await?;
    let report = pool.run_until(ctrl_c()).await?;
    println!(
        "{} acked, {} to be tried again, {} given up",
        report.acked, report.retried, report.dead_lettered
    );
    Ok(())
}

/// `Ok` acks. An error with `?` is a retry, with a longer delay each time; a message that can never succeed is a dead
/// letter.
async fn handle(delivery: Arc<Delivery>) -> Result<(), HandlerError> {
    let text = std::str::from_utf8(delivery.payload())
        .map_err(|error| HandlerError::dead_letter().because(error))?;
    let mut out = tokio::io::stdout();
    out.write_all(format!("{text}\n").as_bytes()).await?;
    out.flush().await?;
    Ok(())
}
