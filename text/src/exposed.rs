//! Files with a secret, a private key or a token: server and client warn if others can read one.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::process::{getegid, getgroups};

/// A warning about the mode of a file with a secret, with advice. `None` if only its owner can read it, or if it cannot
/// be examined: reading it will then fail.
///
/// The file's group may read it if this process is a member, since secrets are given to containers in this way.
pub fn exposed(path: &Path) -> Option<String> {
    let who = readers(&fs::metadata(path).ok()?)?;
    let path = path.display();
    Some(format!("{path} can be read by {who}, and holds a secret: give it mode 0600 (`chmod 600 {path}`)"))
}

/// The other users who can read the file.
fn readers(file: &Metadata) -> Option<String> {
    const GROUP: u32 = 0o040;
    const OTHERS: u32 = 0o004;
    if !file.is_file() {
        return None;
    }
    let of_mode = |bits| file.mode() & bits != 0;
    if of_mode(OTHERS) {
        return Some(format!("everybody (mode {:04o})", file.mode() & 0o7777));
    }
    (of_mode(GROUP) && !is_own(file.gid())).then(|| {
        format!(
            "group {} (mode {:04o}), of which this process is no member",
            file.gid(),
            file.mode() & 0o7777
        )
    })
}

/// Whether this process is a member of the group.
fn is_own(group: u32) -> bool {
    getegid().as_raw() == group
        || getgroups().is_ok_and(|groups| groups.iter().any(|own| own.as_raw() == group))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_secret_is_for_its_owner_and_for_groups_of_this_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of_mode = |mode| {
            fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            exposed(file.path())
        };
        for fine in [0o600, 0o400, 0o640, 0o440, 0o000, 0o611] {
            assert_eq!(of_mode(fine), None, "{fine:o}");
        }
        for wrong in [0o644, 0o604, 0o444] {
            let message = of_mode(wrong).unwrap();
            assert!(
                message.contains(&format!("everybody (mode 0{wrong:o})")) && message.contains("chmod 600"),
                "{message}"
            );
        }
        // Only root can give a file to a group without being a member.
        if std::os::unix::fs::chown(file.path(), None, Some(54_321)).is_ok() {
            assert!(of_mode(0o640).unwrap().contains("group 54321 (mode 0640)"));
            assert_eq!(of_mode(0o600), None);
        }
        assert_eq!(exposed(Path::new("/no/such/file")), None);
    }
}
