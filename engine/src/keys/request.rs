//! A request that was done: `department | 0 | kind | tenant | length u16 | subject | id`.

use super::{Key, Kind, Requester};
use crate::{kv::Family, schema::RequestRow};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// Whose.
    pub requester: Requester,
    /// The id that the caller chose.
    pub id: String,
}

impl Key for RequestKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Request;
    type Row = RequestRow;

    fn encode(&self) -> Vec<u8> {
        self.requester.prefix(Self::KIND).bytes(self.id.as_bytes()).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let (requester, rest) = Requester::read(key, Self::KIND)?;
        Some(Self { requester, id: rest.text()? })
    }
}
