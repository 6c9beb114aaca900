//! Creates a queue with a dead-letter queue, and prints the queues of its department: `admin DEPARTMENT QUEUE`, with
//! POSTHOUSE_CONTEXT set. Running it again changes nothing.

use std::{env, error::Error, time::Duration};

use posthouse_client::{Client, Context, ErrorKind, QueueSettings, Queues};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (department, queue) =
        env::args().nth(1).zip(env::args().nth(2)).ok_or("usage: admin DEPARTMENT QUEUE")?;
    let client = Client::connect(Context::from_env()?).await?;
    client.ping().await?;
    let queues = client.queues();
    let (name, dead) = (format!("{department}/{queue}"), format!("{department}/{queue}-dead"));
    create(&queues, &dead, &QueueSettings::new()).await?;
    let settings = QueueSettings::new().lease_duration(Duration::from_secs(60)).max_attempts(5);
    create(&queues, &name, &settings.dead_letter_queue(&dead)).await?;
    for queue in queues.list(&department).await? {
        // A list has no counts; `get` returns them.
        let Some(stats) = queues.get(&queue.name).await?.stats else { continue };
        println!(
            "{}: {} ready, {} in flight, {} waiting",
            queue.name, stats.ready, stats.in_flight, stats.waiting
        );
    }
    Ok(())
}

/// A queue that exists is no failure, because a program may start twice.
async fn create(queues: &Queues, name: &str, settings: &QueueSettings) -> Result<(), Box<dyn Error>> {
    match queues.create(name, settings).await {
        Ok(queue) => println!("created {}", queue.name),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => println!("{name} is there"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
