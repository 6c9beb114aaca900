//! `posthouse completions` and `posthouse man`.

use std::{fs, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    args::{self, Cli},
    exit::Exit,
    failure::{Failure, of_stdout},
    stdout,
};

/// Writes a completion script to stdout.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "posthouse", &mut script);
    stdout::write(script)
}

/// Writes the manual: one page to stdout, or a page per command into a folder.
pub fn man(args: &args::Man) -> Result<(), Failure> {
    match &args.dir {
        None => {
            let mut page = Vec::new();
            Man::new(Cli::command()).render(&mut page).map_err(|error| of_stdout(&error))?;
            stdout::write(page)
        }
        Some(dir) => pages(dir).map_err(|error| {
            let what = format!("writing manual pages into {} failed: {error}", dir.display());
            Failure::new(Exit::Io, what, "name a folder that can be written")
        }),
    }
}

fn pages(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    // Pages about `help` would repeat the others.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)
}
