//! Exit codes, after sysexits.

/// The exit codes. Scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what was asked.
    Ok = 0,
    /// `apply --dry-run --exit-code`: something would change.
    Differs = 2,
    /// EX_USAGE: the command line is wrong.
    Usage = 64,
    /// EX_DATAERR: the input is wrong.
    BadData = 65,
    /// EX_NOINPUT: what was named does not exist.
    NoInput = 66,
    /// EX_UNAVAILABLE: the server cannot be reached, or failed.
    Unavailable = 69,
    /// EX_IOERR: a file, stdin or stdout failed.
    Io = 74,
    /// EX_TEMPFAIL: not everything was done; a later attempt may succeed.
    TempFail = 75,
    /// EX_NOPERM: certificate, token or grant do not allow it.
    NoPermission = 77,
    /// EX_CONFIG: the configuration or the context is wrong.
    Config = 78,
}

/// Every code with its meaning, for `posthouse --help`.
pub const CODES: [(Exit, &str); 10] = [
    (Exit::Ok, "it did what was asked"),
    (Exit::Differs, "apply --dry-run --exit-code: something would change"),
    (Exit::Usage, "the command line is wrong"),
    (Exit::BadData, "the input, a name's or a setting's value, or a data folder is not as it should be"),
    (Exit::NoInput, "what was named does not exist: a file, a queue, a department, a message"),
    (Exit::Unavailable, "the server cannot be reached, or failed"),
    (Exit::Io, "a file, stdin, stdout or a disk failed"),
    (Exit::TempFail, "not all of it was done; trying again later may help"),
    (Exit::NoPermission, "certificate, token or grant do not allow it"),
    (Exit::Config, "the configuration or the context is wrong"),
];

/// Text below the commands of `posthouse --help`.
pub fn help() -> String {
    let mut help = "Examples:\n  \
        posthouse dev --dir ~/.local/state/posthouse\n  \
        export POSTHOUSE_CONTEXT=~/.local/state/posthouse/contexts/civil-affairs.toml\n  \
        posthouse queue create household-registry/inbox\n  \
        echo 'a first message' | posthouse publish household-registry/inbox\n  \
        posthouse consume household-registry/inbox --until-empty\n\n\
        Exit codes:\n"
        .to_owned();
    for (exit, meaning) in CODES {
        help.push_str(&format!("  {:>2}  {meaning}\n", exit as u8));
    }
    help.push_str(
        "\nEnvironment:\n  \
        POSTHOUSE_CONTEXT  the context file, unless --context is given\n  \
        POSTHOUSE_DATA_DIR the data folder of `store skip` and `store reopen`, unless --data-dir is given\n  \
        POSTHOUSE_LOG      what a server logs, for example info or posthouse_server=debug,warn\n  \
        NO_COLOR           when set, nothing is coloured",
    );
    help
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_sysexits_and_the_help_lists_all() {
        let codes: Vec<u8> = CODES.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, [0, 2, 64, 65, 66, 69, 74, 75, 77, 78]);
        let help = help();
        for code in codes {
            assert!(help.contains(&format!("\n  {code:>2}  ")), "{code}");
        }
    }
}
