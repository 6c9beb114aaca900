//! Runs the commands on the pages.
//!
//! All `sh` blocks of a page run in order in one shell, which stops at the first command that fails. The shell's folder
//! looks like the root of the repository, with `posthouse` on its path and, from the start, a throwaway server of its
//! own. Commands that a reader would run in another terminal (`posthouse dev` or `serve` at the beginning of a line)
//! run in the background, and the next command waits until the server answers. Three things differ from the page, so
//! that pages can run side by side: `~/.local/state/posthouse`, the port 7443 and the address 127.0.0.1:9464 are
//! replaced. A block of `console` must be among the output of the commands.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

use posthouse_tests::harness::binaries;
use rand::RngExt as _;
use tempfile::TempDir;

use super::pages::{Page, root};

/// Read by the shell before the page.
const PREAMBLE: &str = r#"
set -eEu -o pipefail
trap 'echo "$PAGE:$LINENO: this failed: $BASH_COMMAND" >&2' ERR
# Ends what the page has left running.
trap 'status=$?; left=$(jobs -p); [[ -z $left ]] || kill $left 2>/dev/null || true; wait; exit $status' EXIT

# Waits until the server that runs as the given process answers.
serving() {
    local patience=$((SECONDS + 90))
    until posthouse --context "$PLACE/contexts/civil-affairs.toml" ping >/dev/null 2>&1; do
        kill -0 "$1" || { cat "$PLACE.log" >&2; return 1; }
        ((SECONDS < patience)) || { cat "$PLACE.log" >&2; return 1; }
        sleep 0.05
    done
}

# Where the server answers probes: the system has chosen the port.
management() {
    sed -n 's/.*answering probes and metrics address=\([0-9.:]*\).*/\1/p' "$PLACE.log" | tail -n 1
}

# Make's targets are run by CI; here they only have to exist.
make() {
    command make --directory "$ROOT" --dry-run "$@" >/dev/null
}
"#;

macro_rules! pages {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            run($name);
        })*

        #[test]
        fn of_every_page() {
            let listed = [$($name),*];
            for page in Page::all() {
                let tried = listed.contains(&&*page.name) || page.blocks().iter().all(|block| block.language != "sh");
                assert!(tried, "add {} to the pages that are run", page.name);
            }
        }
    };
}

pages! {
    of_the_readme: "README.md",
    of_the_quick_start: "docs/quick-start.md",
    of_the_command_line: "docs/command-line.md",
    of_the_configuration: "docs/configuration.md",
    of_the_client_guide: "docs/client-guide.md",
    of_operations: "docs/operations.md",
    of_troubleshooting: "docs/troubleshooting.md",
}

/// Runs the commands of a page.
fn run(name: &str) {
    let page = Page::read(name);
    let folder = TempDir::with_prefix("posthouse-docs-").unwrap();
    let (clone, base) = (folder.path().join("clone"), folder.path().join("place"));
    look_like_a_clone(&clone);
    fs::write(folder.path().join("preamble"), PREAMBLE).unwrap();
    let script = folder.path().join("page");
    let listen = free_port();
    let text = script_of(&page, &base, listen);
    let starts_its_own = page
        .blocks()
        .iter()
        .any(|block| block.language == "sh" && block.lines.iter().any(|line| is_server(line)));
    // The first line of a page is its title.
    let before =
        if starts_its_own { String::new() } else { in_background("posthouse dev --dir $PLACE", listen) };
    fs::write(&script, format!("{before}{text}")).unwrap();
    let output = Command::new("bash")
        .arg(&script)
        .current_dir(&clone)
        .env("BASH_ENV", folder.path().join("preamble"))
        .env("PAGE", name)
        .env("PLACE", &base)
        .env("ROOT", root())
        .env("PATH", with_posthouse(folder.path()))
        .env("POSTHOUSE_CONTEXT", base.join("contexts/civil-affairs.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (written, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}\n--- stdout\n{written}");
    assert_shown(&page, &written);
}

/// Fails unless the commands wrote what the page shows as their output, in that order.
fn assert_shown(page: &Page, written: &str) {
    let mut lines = written.lines();
    for block in page.blocks().iter().filter(|block| block.language == "console") {
        for shown in &block.lines {
            let found = lines.by_ref().any(|line| line == *shown);
            assert!(found, "{}:{}: nothing wrote {shown:?}:\n{written}", page.name, block.line);
        }
    }
}

/// The page as a script: lines that are no commands are empty, so that line numbers are those of the page.
fn script_of(page: &Page, base: &Path, listen: u16) -> String {
    let mut lines = vec![String::new(); page.text.lines().count()];
    for block in page.blocks().into_iter().filter(|block| block.language == "sh") {
        for (index, line) in block.lines.iter().enumerate() {
            let line = line
                .replace("~/.local/state/posthouse", base.to_str().unwrap())
                .replace("7443", &listen.to_string())
                .replace("127.0.0.1:9464", "$(management)");
            let line = if is_server(&line) { in_background(&line, listen) } else { line };
            lines[block.line + index] = line;
        }
    }
    lines.join("\n") + "\n"
}

/// Whether a line starts a server that keeps running; a line with `||` starts one that refuses.
fn is_server(line: &str) -> bool {
    (line.starts_with("posthouse dev ") || line.starts_with("posthouse serve ")) && !line.contains("||")
}

/// Runs a command that does not return in the background.
fn in_background(command: &str, listen: u16) -> String {
    let command = command.trim_end_matches(['&', ' ']);
    let listen = if command.starts_with("posthouse dev ") {
        format!("--listen 127.0.0.1:{listen}")
    } else {
        String::new()
    };
    format!("{command} {listen} >>$PLACE.log 2>&1 & serving $!;")
}

/// Fills a folder with links to the files of a clone, so that a page writes nothing into the clone.
fn look_like_a_clone(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name != "target" && name != ".git" {
            symlink(entry.path(), folder.join(name)).unwrap();
        }
    }
}

/// A path on which `posthouse` is the binary of this build.
fn with_posthouse(folder: &Path) -> String {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    let wrapper = bin.join("posthouse");
    fs::write(&wrapper, format!("#!/bin/sh\nexec '{}' \"$@\"\n", binaries::posthouse().display())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

/// A port that is free, and that the system does not use for outgoing connections.
fn free_port() -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
