//! Publishes the lines of standard input: `publish CONTEXT.toml DEPARTMENT/QUEUE < FILE`.

use std::{env, error::Error};

use posthouse_client::{Client, Context, NewMessage};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(context), Some(queue)) = (arguments.next(), arguments.next()) else {
        return Err("usage: publish CONTEXT.toml DEPARTMENT/QUEUE < FILE".into());
    };
    let client = Client::connect(Context::load(context)?).await?;
    let publisher = client.publisher(queue).open().await?;
    let mut lines = BufReader::new(stdin()).lines();
    let mut count = 0;
    while let Some(line) = lines.next_line().await? {
        // `publish` waits while the buffer is full. The ack is dropped: `close` tells whether all went well.
        drop(publisher.publish(NewMessage::new(line).attribute("source", "stdin")).await?);
        count += 1;
    }
    publisher.close().await?;
    println!("{count} stored");
    Ok(())
}
