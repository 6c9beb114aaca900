use posthouse_proto::v1;

use crate::error::Error;

/// Why the work on a stream has ended.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// Nothing is left to do.
    Finished,
    /// The server asked the client to connect again: to this endpoint, or to that of the context.
    Moved(Option<String>),
    Failed(Error),
}

impl StreamEnd {
    pub(crate) fn drained(drain: v1::Drain) -> Self {
        Self::Moved(Some(drain.endpoint).filter(|endpoint| !endpoint.is_empty()))
    }
}
