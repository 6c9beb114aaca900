//! Another tenant, which tries what it has no grant for.

use posthouse_client::{Client, Context, Error, NewMessage, Queue};

use crate::{Failed, server::Server};

/// The other tenant.
const OTHER_TENANT: &str = "taxation";

/// Lets another tenant, with its own certificate and token, publish to, consume from and look at a queue. Returns the
/// reason of each refusal; the demo fails if one is allowed.
pub async fn refused(
    server: &Server,
    tenant: &str,
    queue: &str,
) -> Result<Vec<(&'static str, String)>, Failed> {
    let client = Client::connect(Context::load(server.context(OTHER_TENANT))?).await?;
    let (department, queue) = queue.split_once('/').ok_or("a queue has a department")?;
    let name = format!("tenants/{tenant}/departments/{department}/queues/{queue}");
    let published = async {
        let publisher = client.publisher(&name).open().await?;
        publisher.publish(NewMessage::new("a letter from elsewhere")).await?.await?;
        Ok::<_, Failed>(())
    };
    let consumed = async {
        let consumer = client.consumer(&name).open().await?;
        consumer.next().await?;
        Ok::<_, Failed>(())
    };
    let published = reason("publish", published.await)?;
    let consumed = reason("consume", consumed.await)?;
    let described =
        reason("look at", client.queues().get(&name).await.map_err(Failed::from).map(|_: Queue| ()))?;
    Ok(vec![published, consumed, described])
}

fn reason(what: &'static str, tried: Result<(), Failed>) -> Result<(&'static str, String), Failed> {
    let Err(error) = tried else {
        return Err(format!("{OTHER_TENANT} could {what} another tenant's queue").into());
    };
    let refusal = error.downcast_ref::<Error>().and_then(Error::reason).map(str::to_owned);
    match refusal {
        Some(reason) => Ok((what, reason)),
        None => Err(error),
    }
}
