//! Calls that change names. Nothing is recorded here, since the sync of a folder lists it; but no name changes while a
//! folder is listed.

use std::ffi::{c_char, c_int, c_uint};

use libc::mode_t;

use crate::{
    sys::{self, call},
    tracker,
};

fn changing(call: impl FnOnce() -> i64) -> c_int {
    let _names = tracker::with(|tracker| tracker.names.read());
    call() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(old: *const c_char, new: *const c_char) -> c_int {
    changing(|| call!(libc::SYS_renameat2, libc::AT_FDCWD, old, libc::AT_FDCWD, new, 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
) -> c_int {
    changing(|| call!(libc::SYS_renameat2, old_folder, old, new_folder, new, 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat2(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
    flags: c_uint,
) -> c_int {
    changing(|| call!(libc::SYS_renameat2, old_folder, old, new_folder, new, flags))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    changing(|| call!(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    changing(|| call!(libc::SYS_unlinkat, folder, path, flags))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    changing(|| call!(libc::SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    changing(|| call!(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdirat(folder: c_int, path: *const c_char, mode: mode_t) -> c_int {
    changing(|| call!(libc::SYS_mkdirat, folder, path, mode))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn link(old: *const c_char, new: *const c_char) -> c_int {
    changing(|| call!(libc::SYS_linkat, libc::AT_FDCWD, old, libc::AT_FDCWD, new, 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
    flags: c_int,
) -> c_int {
    changing(|| call!(libc::SYS_linkat, old_folder, old, new_folder, new, flags))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn symlink(target: *const c_char, path: *const c_char) -> c_int {
    let into = sys::text(path).and_then(|path| path.to_str().ok());
    if into.is_some_and(|path| tracker::with(|tracker| tracker.contains(path.as_ref())) == Some(true)) {
        sys::refuse("symbolic links are not modelled");
    }
    call!(libc::SYS_symlinkat, target, libc::AT_FDCWD, path) as c_int
}
