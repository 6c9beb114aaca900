//! The user who runs this program, for the record of a manual change.

use rustix::{process::getuid, system::uname};

/// The user and the host.
pub(super) fn name() -> String {
    let uid = getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user(&passwd, uid).map_or_else(String::new, |name| format!(" ({name})"));
    // From the environment, and so no proof.
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| uid == 0 && is_plain(name));
    let sudo = sudo.map_or_else(String::new, |name| format!(", for {name}"));
    let host = uname().nodename().to_string_lossy().into_owned();
    format!("uid {uid}{user}{sudo} on {}", if is_plain(&host) { &host } else { "a host without a name" })
}

/// Name of a user id in a file like `/etc/passwd`.
fn user(passwd: &str, uid: u32) -> Option<&str> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = users.find(|fields| fields.get(2).is_some_and(|id| id.parse() == Ok(uid)))?;
    found.first().copied().filter(|name| is_plain(name))
}

/// Whether a name can be shown anywhere.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-$".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nbad\u{1b}name:x:7:7::/:/\n\
                      alice:x:1000:1000::/:/bin/sh\n";
        assert_eq!([0, 1000, 7, 8].map(|uid| user(passwd, uid)), [Some("root"), Some("alice"), None, None]);
        assert!(name().starts_with("uid "), "{}", name());
    }
}
