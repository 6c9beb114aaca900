//! A wall clock that is wrong: ahead by `POSTHOUSE_CLOCK_AHEAD` seconds, from the start or, with
//! `POSTHOUSE_CLOCK_JUMPS_AFTER`, once so many seconds have passed. The monotonic clock stays as it is.

use std::ffi::c_int;
use std::sync::OnceLock;

use crate::sys::call;

struct Wrong {
    ahead: i64,
    /// By the monotonic clock.
    from: i64,
}

fn wrong() -> &'static Wrong {
    static WRONG: OnceLock<Wrong> = OnceLock::new();
    WRONG.get_or_init(|| {
        let seconds = |name| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let after: i64 = seconds("POSTHOUSE_CLOCK_JUMPS_AFTER");
        Wrong { ahead: seconds("POSTHOUSE_CLOCK_AHEAD"), from: monotonic() + after }
    })
}

fn monotonic() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    call!(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now);
    now.tv_sec
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let result = call!(libc::SYS_clock_gettime, clock, time) as c_int;
    if result == 0 && clock == libc::CLOCK_REALTIME {
        let wrong = wrong();
        if wrong.ahead != 0 && monotonic() >= wrong.from {
            // SAFETY: the call has just written there.
            unsafe { (*time).tv_sec += wrong.ahead };
        }
    }
    result
}
