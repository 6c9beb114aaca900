//! A folder that an older version left in the middle of its work is opened, and what its log holds is applied as it was
//! answered.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use posthouse_client::{Client, Context, QueueSettings, Redrive};
use posthouse_tests::harness::{binaries, cli};

use crate::rounds::{Ends, Plan, rounds, run_beside};

const QUEUE: &str = "household-registry/beside";
const DEAD_LETTERS: &str = "household-registry/beside-dead";

/// The older version is killed again and again, and then this version runs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs POSTHOUSE_OLD_BIN, the binary of an older version"]
async fn a_folder_of_an_older_version_opens_and_keeps_its_promises() {
    let old = PathBuf::from(std::env::var_os("POSTHOUSE_OLD_BIN").expect("POSTHOUSE_OLD_BIN"));
    let last = rounds(3);
    let binary = |round| if round < last { old.clone() } else { binaries::posthouse() };
    let plan = Plan { binary: &binary, rounds: last, ends: Ends::Kills, power: false, torn: false };
    let mut judged = run_beside(plan, &beside).await.unwrap();
    let data = judged.stopped().await;
    let check = ["store".as_ref(), "check".as_ref(), data.as_os_str()];
    println!("{}", String::from_utf8(cli::succeed(std::path::Path::new("none"), check)).unwrap());
    judged.assert_promises();
}

/// Dead letters, redrives and purges on queues of their own, until the load ends. Calls fail while there is no server.
fn beside(context: Context, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<[u64; 3]> {
    tokio::spawn(async move {
        let mut done = [0; 3];
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = some(&context, &mut done).await {
                println!("beside: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        done
    })
}

async fn some(
    context: &Context,
    done: &mut [u64; 3],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = Client::connect(context.clone()).await?;
    // Mostly they exist already.
    let _ = client.queues().create(DEAD_LETTERS, &QueueSettings::new()).await;
    let settings = QueueSettings::new().dead_letter_queue(DEAD_LETTERS);
    let _ = client.queues().create(QUEUE, &settings).await;
    let publisher = client.publisher(QUEUE).open().await?;
    let mut acks = Vec::new();
    for number in 0..40_u32 {
        acks.push(publisher.publish(number.to_string().into_bytes()).await?);
    }
    for ack in acks {
        ack.await?;
    }
    publisher.close().await?;
    let consumer = client.consumer(QUEUE).credit_messages(64).open().await?;
    let mut settling = Vec::new();
    for _ in 0..20 {
        let Some(delivery) = consumer.next().await? else { break };
        settling.push(delivery.dead_letter());
    }
    for settled in settling {
        settled.await?;
        done[0] += 1;
    }
    consumer.close().await?;
    done[1] += client.messages().redrive(DEAD_LETTERS, &Redrive::new().max_messages(7)).await?.redriven;
    if client.queues().get(QUEUE).await?.stats.is_some_and(|stats| stats.ready > 60) {
        done[2] += client.queues().purge(QUEUE).await?;
    }
    Ok(())
}
