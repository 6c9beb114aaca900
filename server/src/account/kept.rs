//! Requests whose memory somebody still has. A payload is a piece of its request: a small one, stored and not consumed yet, may
//! keep megabytes of others that are gone. So pieces are taken only while all such requests together are few.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::limits::{KEPT_REQUEST_BYTES, SLICED_REQUEST_BYTES};

/// Of the process, as its memory is.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// One request.
struct Kept(Bytes);

/// The same request, counted until nobody has a piece of it. One that is small is as it was: its payloads are always copied.
pub(crate) fn counted(request: Bytes) -> Bytes {
    if request.len() < SLICED_REQUEST_BYTES {
        return request;
    }
    KEPT.fetch_add(request.len() as u64, Ordering::Relaxed);
    Bytes::from_owner(Kept(request))
}

/// Bytes of all such requests.
pub(crate) fn bytes() -> u64 {
    KEPT.load(Ordering::Relaxed)
}

/// Whether no payload may keep its request any longer.
pub(crate) fn are_too_many() -> bool {
    bytes() > KEPT_REQUEST_BYTES
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_all_of_its_request_until_it_is_gone() {
        // More than other tests of the process keep.
        const BYTES: usize = 512 << 20;
        let whole = counted(Bytes::from(vec![0; BYTES]));
        let piece = whole.slice(3..8);
        drop(whole);
        assert!(are_too_many() && bytes() >= BYTES as u64 && piece[..] == [0; 5]);
        drop(piece);
        assert!(!are_too_many());
        let small = Bytes::from(vec![1; 10]);
        assert_eq!(counted(small.clone()).as_ptr(), small.as_ptr());
    }
}
