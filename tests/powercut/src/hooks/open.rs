//! Calls that open files: they decide which files are watched.

use std::ffi::{c_char, c_int};

use libc::mode_t;

use crate::{sys::call, tracker};

fn opened(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // No name may be created while a folder is listed.
    let names = tracker::with(|tracker| tracker.names.read());
    let fd = call!(libc::SYS_openat, folder, path, flags, mode) as c_int;
    drop(names);
    if fd >= 0 {
        tracker::with(|tracker| tracker.opened(fd, flags));
    }
    fd
}

/// Defines one function under several names.
macro_rules! open {
    ($($name:ident),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            opened(libc::AT_FDCWD, path, flags, mode)
        }
    )*};
}
open!(open, open64, __open_2, __open64_2);

macro_rules! openat {
    ($($name:ident),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            opened(folder, path, flags, mode)
        }
    )*};
}
openat!(openat, openat64, __openat_2, __openat64_2);

macro_rules! creat {
    ($($name:ident),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(path: *const c_char, mode: mode_t) -> c_int {
            opened(libc::AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode)
        }
    )*};
}
creat!(creat, creat64);
