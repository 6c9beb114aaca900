//! `posthouse store skip` and `posthouse store reopen`: print what the server's own code did.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthouse_server::{
    ReopenDepartment, Reopened, SetAside, SetAsideError, SkipEntry, Skipped, reopen_department, skip_entry,
};

use super::{operator, refused};
use crate::{args, exit::Exit, failure::Failure, progress::Progress, stdout, time::rfc3339};

/// Skips an entry, and prints which department is set aside.
pub fn skip(args: &args::StoreSkip, quiet: bool) -> Result<(), Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let skip = SkipEntry {
        shard: args.shard,
        index: args.index,
        digest: args.digest.clone(),
        by: operator::name(),
        reason: args.reason.clone(),
        now_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    };
    let progress = Progress::steps(quiet);
    let skipped = skip_entry(&args.folder.dir, &skip, &mut |step| progress.step(step));
    drop(progress);
    stdout::text(match skipped.map_err(|error| failure(&error))? {
        Skipped::Before(mark) => format!("it is done already: {}\n", describe(&mark)),
        Skipped::Now { set_aside, why, commands, next } => {
            let mut text = format!(
                "entry {} of shard {} is skipped; it halted the shard: {why}\n\
                 none of its {commands} commands is done\n\
                 {} is set aside: nothing of it is read, changed or timed until\n  \
                 posthouse store reopen {} --data-dir {}\n",
                set_aside.index,
                set_aside.shard,
                set_aside.department,
                set_aside.department,
                args.folder.dir.display(),
            );
            match next {
                None => text.push_str("start the server\n"),
                Some((index, digest)) => text.push_str(&format!(
                    "entry {index} of shard {} halts it, too; its digest is {digest}\n",
                    set_aside.shard
                )),
            }
            text
        }
    })
}

/// Reopens a department, and prints its problems.
pub fn reopen(args: &args::StoreReopen, quiet: bool) -> Result<(), Failure> {
    let reopen = ReopenDepartment { department: args.department.clone(), force: args.force };
    let progress = Progress::steps(quiet);
    let reopened = reopen_department(&args.folder.dir, &reopen, &mut |step| progress.step(step));
    drop(progress);
    stdout::text(match reopened.map_err(|error| failure(&error))? {
        Reopened::IsOpen(name) => format!("{name} is not set aside; nothing was changed\n"),
        Reopened::Now { was, problems, closed } => {
            let mut text = format!("{} is open again; {}\n", was.department, describe(&was));
            for problem in problems {
                text.push_str(&format!("its rows do not fit together: {problem}\n"));
            }
            if closed {
                text.push_str("no configuration names it: it is closed until one does\n");
            }
            text.push_str("start the server\n");
            text
        }
    })
}

fn describe(mark: &SetAside) -> String {
    let at = rfc3339(UNIX_EPOCH + Duration::from_millis(mark.at_ms));
    let SetAside { department, shard, index, digest, by, reason, .. } = mark;
    format!(
        "entry {index} of shard {shard}, digest {digest}, was skipped for {department} at {at} by {by}: {reason}"
    )
}

fn failure(error: &SetAsideError) -> Failure {
    match error {
        SetAsideError::DataDir(error) => refused(error),
        SetAsideError::Refused { what, next } => {
            Failure::new(Exit::BadData, format!("{what}; nothing was changed"), next.clone())
        }
        SetAsideError::Rows(_) => Failure::new(
            Exit::BadData,
            error,
            "run `posthouse store check`, and restore the data folder from a backup if it is damaged",
        ),
        SetAsideError::Write(_) => Failure::new(Exit::Io, error, "make room on the disk, or check it"),
        // Their texts say what to do.
        SetAsideError::Log(error) => Failure::advised(Exit::Io, error),
        SetAsideError::StoreOpen(error) => Failure::advised(Exit::Io, error),
    }
}
