//! Versions of the client libraries.

/// The lock file of the build: the libraries do not export their versions.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Name and version of a library.
pub fn library(name: &str) -> String {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version = LOCK.split_once(&entry).and_then(|(_, rest)| rest.split_once('"'));
    version.map_or_else(|| name.to_owned(), |(version, _)| format!("{name} {version}"))
}

#[cfg(test)]
mod tests {
    use super::library;

    #[test]
    fn names_the_version_that_was_built_in() {
        let tokio = library("tokio");
        assert!(tokio.strip_prefix("tokio 1.").is_some_and(|rest| !rest.contains('\n')), "{tokio}");
        assert_eq!(library("no such library"), "no such library");
    }
}
