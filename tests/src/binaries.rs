//! Where the programs under test are: beside the tests, unless the environment says otherwise. `make test` builds
//! them.

use std::path::{Path, PathBuf};

/// The `posthouse` binary: `$POSTHOUSE_BIN`, or that of this build.
pub fn posthouse() -> PathBuf {
    named("POSTHOUSE_BIN", "posthouse", "cargo build --release -p posthouse")
}

/// A `posthouse` binary with planted bugs: `$POSTHOUSE_PLANTED_BIN`, or that of this build.
pub fn planted() -> PathBuf {
    named("POSTHOUSE_PLANTED_BIN", "posthouse-planted", "scripts/build-planted.sh")
}

/// The preload library that records what is durable.
pub fn powercut_library() -> PathBuf {
    let build = "cargo build --release -p posthouse-powercut";
    named("POSTHOUSE_POWERCUT_LIBRARY", "libposthouse_powercut.so", build)
}

/// The program that tests the preload library.
pub fn powercut_probe() -> PathBuf {
    named("POSTHOUSE_POWERCUT_PROBE", "powercut-probe", "cargo build --release -p posthouse-powercut")
}

/// A file among the build's results.
fn named(variable: &str, name: &str, build: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| results().join(name), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `{build}`, or set {variable}", path.display());
    path
}

/// The folder of the build's results. The tests are in its `deps`, programs such as `attack` in its `examples`, unless
/// the environment names the target folder.
fn results() -> PathBuf {
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        return Path::new(&target).join("release");
    }
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().unwrap();
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.parent().unwrap().to_owned()
    } else {
        folder.to_owned()
    }
}
