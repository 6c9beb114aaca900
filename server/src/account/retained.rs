//! Requests whose memory is still in use. A payload is a piece of its request: a small one that is stored and not
//! consumed may keep megabytes in memory. So pieces are used only while all such requests are small in sum.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::limits::{RETAINED_REQUEST_BYTES, SLICED_REQUEST_BYTES};

/// How many bytes they have.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetainedRequests(Arc<AtomicU64>);

/// One request.
struct RetainedRequest {
    request: Bytes,
    all: RetainedRequests,
}

impl RetainedRequests {
    /// The request, counted until no piece of it is left. A small request is not counted: its payloads are always
    /// copied.
    pub(crate) fn counted(&self, request: Bytes) -> Bytes {
        if request.len() < SLICED_REQUEST_BYTES {
            return request;
        }
        self.0.fetch_add(request.len() as u64, Ordering::Relaxed);
        Bytes::from_owner(RetainedRequest { request, all: self.clone() })
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether no payload may keep its request any longer.
    pub(crate) fn are_too_many(&self) -> bool {
        self.bytes() > RETAINED_REQUEST_BYTES
    }
}

impl AsRef<[u8]> for RetainedRequest {
    fn as_ref(&self) -> &[u8] {
        &self.request
    }
}

impl Drop for RetainedRequest {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.request.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_all_of_its_request_until_it_is_gone() {
        let retained = RetainedRequests::default();
        let requests: Vec<_> =
            (0..=RETAINED_REQUEST_BYTES >> 20).map(|_| retained.counted(vec![7; 1 << 20].into())).collect();
        let pieces: Vec<_> = requests.iter().map(|request| request.slice(3..8)).collect();
        drop(requests);
        assert!(
            retained.are_too_many()
                && retained.bytes() == RETAINED_REQUEST_BYTES + (1 << 20)
                && pieces[0][..] == [7; 5]
        );
        drop(pieces);
        assert_eq!((retained.are_too_many(), retained.bytes()), (false, 0));
        let small = Bytes::from(vec![1; 10]);
        assert_eq!(retained.counted(small.clone()).as_ptr(), small.as_ptr());
    }
}
