//! Connects a client with a context file.

use std::path::Path;

use posthouse_client::{Client, Context};
use posthouse_text::causes;

use crate::{
    exit::Exit,
    failure::{Failure, of_client},
    stderr,
};

/// Connects with the context of the command line or the environment.
pub async fn connect(context: Option<&Path>) -> Result<Client, Failure> {
    let path = context.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "this command needs a context",
            "give --context FILE or set POSTHOUSE_CONTEXT; `posthouse dev` makes some",
        )
    })?;
    let context = Context::load(path).map_err(|error| Failure::advised(Exit::Config, causes(&error)))?;
    context.warnings().into_iter().for_each(stderr::warn);
    Client::connect(context).await.map_err(|error| of_client(&error))
}
