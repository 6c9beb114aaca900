//! How many files and sockets the system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on open files to what the process may have without further rights.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None`: no limit.
    let (Some(from), to) = (current, maximum) else { return };
    if to == Some(from) {
        return;
    }
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    match setrlimit(Resource::Nofile, Rlimit { current: to, maximum }) {
        Ok(()) => tracing::info!(from, to = shown(to), "the limit on open files is raised to the hard one"),
        Err(error) => {
            tracing::warn!(from, to = shown(to), %error, "the limit on open files cannot be raised")
        }
    }
}

/// The soft limit on open files; `None`: there is none.
pub(super) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
