//! The command line, command by command.

mod apply;
mod causes;
mod definitions;
mod encodings;
mod messages;
mod ndjson;
mod shells;
mod signals;
mod stdio;
mod stdout;
mod store_check;
mod store_skip;
mod terminal;
mod token;

use std::path::PathBuf;

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
};

/// The queue of a [`Fixture`].
const QUEUE: &str = "identity-cards/applications";

/// A running server with one queue, and a context of a tenant that has every right on it.
struct Fixture {
    site: Site,
    context: PathBuf,
    _server: Server,
}

impl Fixture {
    async fn new() -> Self {
        let site = Site::new();
        let server = Server::start(&site).await;
        let context = site.context_file(CIVIL);
        cli::succeed(&context, ["queue", "create", QUEUE]);
        Self { site, context, _server: server }
    }
}
