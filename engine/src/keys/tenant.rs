//! A tenant: `0xffff | kind | name` -> its id.

use super::{
    CATALOGUE, Key, Kind,
    parts::{Reader, Writer},
};
use crate::{kv::Family, schema::TenantRow};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKey {
    /// Its name.
    pub name: String,
}

impl Key for TenantKey {
    const FAMILY: Family = Family::Meta;
    const KIND: Kind = Kind::Tenant;
    type Row = TenantRow;

    fn encode(&self) -> Vec<u8> {
        Writer::shard(CATALOGUE).u8(Self::KIND as u8).bytes(self.name.as_bytes()).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        (key.u16()? == CATALOGUE).then_some(())?;
        key.kind(Self::KIND)?;
        Some(Self { name: key.text()? })
    }
}
