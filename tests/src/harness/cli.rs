//! The command line as a separate process.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Output},
};

use super::binaries;

/// A client command that has not started yet.
pub fn command<A: AsRef<OsStr>>(context: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(binaries::posthouse());
    command.arg("--context").arg(context).args(arguments);
    command
}

/// Runs a client command to its end, successful or not.
pub fn run<A: AsRef<OsStr>>(context: &Path, arguments: impl IntoIterator<Item = A>) -> Output {
    command(context, arguments).output().unwrap()
}

/// Runs a client command that must succeed, and returns its stdout.
#[track_caller]
pub fn succeed<A: AsRef<OsStr>>(context: &Path, arguments: impl IntoIterator<Item = A>) -> Vec<u8> {
    let output = run(context, arguments);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a client command that must end with this exit code, and returns its stdout and stderr.
#[track_caller]
pub fn end<A: AsRef<OsStr>>(
    code: i32,
    context: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> (String, String) {
    let output = run(context, arguments);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{printed}");
    (String::from_utf8(output.stdout).unwrap(), printed)
}
