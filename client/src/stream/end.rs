use posthouse_proto::v1;

use crate::error::Error;

/// Why the work on a stream has ended.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// Everything is done.
    Finished,
    /// The server asked the client to connect anew: to this endpoint, or to the context's.
    Moved(Option<String>),
    Failed(Error),
}

impl StreamEnd {
    pub(crate) fn drained(drain: v1::Drain) -> Self {
        Self::Moved(Some(drain.endpoint).filter(|endpoint| !endpoint.is_empty()))
    }
}
