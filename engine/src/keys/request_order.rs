//! Requests in the order they are forgotten: `department | 0 | kind | tenant | length u16 | subject | number`.

use super::{Key, Kind, Requester};
use crate::{kv::Family, schema::RequestOrderRow};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOrderKey {
    /// Whose.
    pub requester: Requester,
    /// Counts the requester's requests.
    pub number: u64,
}

impl Key for RequestOrderKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::RequestOrder;
    type Row = RequestOrderRow;

    fn encode(&self) -> Vec<u8> {
        self.requester.prefix(Self::KIND).u64(self.number).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let (requester, mut rest) = Requester::read(key, Self::KIND)?;
        let number = rest.u64()?;
        rest.end()?;
        Some(Self { requester, number })
    }
}
