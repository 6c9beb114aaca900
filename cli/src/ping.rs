//! `posthouse ping`.

use std::time::Instant;

use posthouse_client::Client;

use crate::{
    failure::{Failure, of_client},
    stdout,
};

/// Pings the server, and prints how long the answer took.
pub async fn ping(client: &Client) -> Result<(), Failure> {
    let asked = Instant::now();
    client.ping().await.map_err(|error| of_client(&error))?;
    let millis = asked.elapsed().as_secs_f64() * 1000.0;
    stdout::text(format!("{} serves, answered in {millis:.1} ms\n", client.context().endpoint()))
}
