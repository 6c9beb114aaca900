use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
};

use rustix::process::geteuid;

use super::{DevError, Folder, MARK};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Changes the owner of a file, which only root can do.
fn chown_to_nobody(path: &Path) -> bool {
    geteuid().is_root() && chown(path, Some(65_534), None).is_ok()
}

#[test]
fn files_and_folders_are_private() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(&temporary.path().join("dev")).unwrap();
    folder.make("contexts").unwrap();
    folder.write("contexts/a.key", "secret").unwrap();
    folder.write("contexts/a.key", "secret again").unwrap();
    assert_eq!(mode(&folder.path("")), 0o700);
    assert_eq!(mode(&folder.path("contexts")), 0o700);
    assert_eq!(mode(&folder.path("contexts/a.key")), 0o600);
    assert_eq!(folder.read("contexts/a.key").unwrap().as_deref(), Some("secret again"));
    assert_eq!(folder.read("contexts/b.key").unwrap(), None);
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("thesis.txt"), "irreplaceable").unwrap();
    assert!(matches!(Folder::open(temporary.path()), Err(DevError::ForeignFolder(_))));
}

#[test]
fn a_folder_has_one_user_at_a_time() {
    let temporary = tempfile::tempdir().unwrap();
    let first = Folder::open(temporary.path()).unwrap();
    assert!(matches!(Folder::open(temporary.path()), Err(DevError::Locked(_))));
    drop(first);
    Folder::open(temporary.path()).unwrap();
}

#[test]
fn files_of_another_user_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("dev");
    let folder = Folder::open(&root).unwrap();
    folder.make("issuers").unwrap();
    folder.write("issuers/a.key", "planted").unwrap();
    if !chown_to_nobody(&root.join("issuers/a.key")) {
        return;
    }
    let is_foreign =
        |result: Result<(), DevError>| matches!(result, Err(DevError::ForeignOwner { owner: 65_534, .. }));
    assert!(is_foreign(folder.read("issuers/a.key").map(drop)));
    // The entry in our folder can be replaced.
    folder.write("issuers/a.key", "our own").unwrap();
    assert_eq!(folder.read("issuers/a.key").unwrap().as_deref(), Some("our own"));
    chown_to_nobody(&root.join("issuers"));
    for result in
        [folder.read("issuers/a.key").map(drop), folder.write("issuers/a.key", ""), folder.make("issuers")]
    {
        assert!(is_foreign(result));
    }
    drop(folder);
    chown_to_nobody(&root.join(MARK));
    assert!(is_foreign(Folder::open(&root).map(drop)));
    chown(root.join(MARK), Some(0), None).unwrap();
    chown_to_nobody(&root);
    assert!(is_foreign(Folder::open(&root).map(drop)));
    // A link of another user.
    let link = temporary.path().join("link");
    symlink(temporary.path().join("ours"), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
    assert!(is_foreign(Folder::open(&link).map(drop)));
}

#[test]
fn no_link_is_followed() {
    let temporary = tempfile::tempdir().unwrap();
    let (root, victim) = (temporary.path().join("dev"), temporary.path().join("victim"));
    fs::write(&victim, "untouched").unwrap();
    let folder = Folder::open(&root).unwrap();
    for name in ["posthouse.toml.draft", "posthouse.toml"] {
        symlink(&victim, root.join(name)).unwrap();
    }
    assert!(matches!(folder.read("posthouse.toml"), Err(DevError::Link(_))));
    folder.write("posthouse.toml", "new").unwrap();
    assert_eq!(folder.read("posthouse.toml").unwrap().as_deref(), Some("new"));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    symlink(temporary.path(), root.join("data")).unwrap();
    assert!(matches!(folder.make("data"), Err(DevError::Link(_))));
    assert!(matches!(folder.read("data/victim"), Err(DevError::Link(_))));
    drop(folder);
    fs::remove_file(root.join(MARK)).unwrap();
    symlink(&victim, root.join(MARK)).unwrap();
    assert!(matches!(Folder::open(&root), Err(DevError::Link(_))));
}

#[test]
fn a_folder_where_everybody_can_rename_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let shared = temporary.path().join("shared");
    fs::create_dir(&shared).unwrap();
    for (mode, refused) in [(0o777, true), (0o702, true), (0o1777, false), (0o755, false)] {
        fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        for path in ["dev", "a/b"] {
            let opened = Folder::open(&shared.join(path));
            assert_eq!(matches!(opened, Err(DevError::OpenToAll(_))), refused, "{mode:o} {opened:?}");
        }
    }
    if chown_to_nobody(&shared) {
        let opened = Folder::open(&shared.join("dev")).unwrap();
        assert!(opened.warning().is_some_and(|warning| warning.contains("the user 65534")));
    }
}
