//! `posthouse store`: the data folder of a stopped server. Here `check`, which prints the report of the server's own
//! check.

use posthouse_server::{Part, StoreCheckOptions, StoreReport, check_store, store::DataDirError};

use crate::{args, exit::Exit, failure::Failure, progress::Progress, stdout};
pub use set_aside::{reopen, skip};

mod operator;
mod set_aside;

/// Checks a data folder, and prints a line per part with its problems and advice.
pub fn check(args: &args::StoreCheck, quiet: bool) -> Result<(), Failure> {
    let progress = Progress::steps(quiet);
    let options = StoreCheckOptions { max_rows: args.max_rows };
    let checked = check_store(&args.dir, options, &mut |step| progress.step(step));
    drop(progress);
    let report = checked.map_err(|error| refused(&error))?;
    stdout::text(report.parts.iter().map(shown).collect::<String>())?;
    judge(&report, args)
}

fn judge(report: &StoreReport, args: &args::StoreCheck) -> Result<(), Failure> {
    let dir = args.dir.display();
    match report.problems() {
        0 if report.is_whole() => stdout::text(format!("{dir} is sound\n")),
        0 => Err(Failure::new(
            Exit::BadData,
            format!("nothing wrong was found in {dir}, but not all of it was looked at"),
            "see the parts that were skipped",
        )),
        problems => {
            let noun = if problems == 1 { "problem" } else { "problems" };
            Err(Failure::new(
                Exit::BadData,
                format!("{dir} has {problems} {noun}; nothing was changed"),
                "do what stands under each of them before a server is started on this folder",
            ))
        }
    }
}

fn shown(part: &Part) -> String {
    let verdict = match (part.problems.is_empty(), &part.skipped) {
        (false, _) => "DAMAGED",
        (true, Some(_)) => "skipped",
        (true, None) => "ok",
    };
    let mut text = format!("{verdict:<8}{:<15}{}", part.name, part.seen).trim_end().to_owned() + "\n";
    for problem in &part.problems {
        text.push_str(&format!("        {}\n          next: {}\n", problem.what, problem.next));
    }
    if let Some(why) = &part.skipped {
        text.push_str(&format!("        not looked at, or not at all of it: {why}\n"));
    }
    for notice in &part.notices {
        text.push_str(&format!("        note: {notice}\n"));
    }
    text
}

/// Why a folder was refused.
fn refused(error: &DataDirError) -> Failure {
    match error {
        DataDirError::InUse { path } => Failure::new(
            Exit::TempFail,
            format!("a server runs on {}", path.display()),
            "stop it first: a folder that changes can be neither checked nor changed",
        ),
        DataDirError::NoData { .. } => Failure::advised(Exit::NoInput, error),
        DataDirError::Io { source, .. } => {
            let missing = source.kind() == std::io::ErrorKind::NotFound;
            let exit = if missing { Exit::NoInput } else { Exit::Io };
            Failure::new(exit, error, "name a data folder that this user can read")
        }
        other => Failure::advised(Exit::BadData, other),
    }
}
