//! Publishes the lines of standard input: `producer DEPARTMENT/QUEUE < FILE`, with POSTHOUSE_CONTEXT set.

use std::{env, error::Error, time::Duration};

use posthouse_client::{Client, Context, NewMessage};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = env::args().nth(1).ok_or("usage: producer DEPARTMENT/QUEUE < FILE")?;
    let client = Client::connect(Context::from_env()?).await?;
    let publisher = client.publisher(queue).open().await?;
    let mut lines = BufReader::new(stdin()).lines();
    let mut count = 0;
    while let Some(line) = lines.next_line().await? {
        // This waits while the buffer is full. The ack may be dropped: the flush returns the first failure.
        drop(publisher.publish(NewMessage::new(line).attribute("source", "stdin")).await?);
        count += 1;
        if count % 10_000 == 0 {
            publisher.flush().await?;
            println!("{count} are on the server's disk");
        }
    }
    publisher.close_within(Duration::from_secs(30)).await?;
    println!("{count} stored");
    Ok(())
}
