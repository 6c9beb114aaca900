//! Calls that make bytes and names durable.

use std::ffi::c_int;

use crate::{sys::call, tracker};

fn synced(fd: c_int, result: i64) -> c_int {
    if result == 0 {
        tracker::with(|tracker| tracker.synced(fd));
    }
    result as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd, call!(libc::SYS_fsync, fd))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd, call!(libc::SYS_fdatasync, fd))
}
