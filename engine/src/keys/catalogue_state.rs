//! The catalogue itself: `0xffff | kind` -> its applied index, its time, the next ids.

use super::{
    CATALOGUE, Key, Kind,
    parts::{Reader, Writer},
};
use crate::{kv::Family, schema::CatalogueStateRow};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueStateKey;

impl Key for CatalogueStateKey {
    const FAMILY: Family = Family::Meta;
    const KIND: Kind = Kind::CatalogueState;
    type Row = CatalogueStateRow;

    fn encode(&self) -> Vec<u8> {
        Writer::shard(CATALOGUE).u8(Self::KIND as u8).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        (key.u16()? == CATALOGUE).then_some(())?;
        key.kind(Self::KIND)?;
        key.end()?;
        Some(Self)
    }
}
