//! A department as the catalogue knows it: `0xffff | kind | tenant | name` -> its id and its shard.

use super::{
    CATALOGUE, Key, Kind,
    parts::{Reader, Writer},
};
use crate::{ids::TenantId, kv::Family, schema::CatalogueDepartmentRow};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueDepartmentKey {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
}

impl Key for CatalogueDepartmentKey {
    const FAMILY: Family = Family::Meta;
    const KIND: Kind = Kind::CatalogueDepartment;
    type Row = CatalogueDepartmentRow;

    fn encode(&self) -> Vec<u8> {
        Writer::shard(CATALOGUE).u8(Self::KIND as u8).u32(self.tenant.0).bytes(self.name.as_bytes()).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        (key.u16()? == CATALOGUE).then_some(())?;
        key.kind(Self::KIND)?;
        let tenant = TenantId(key.u32()?);
        Some(Self { tenant, name: key.text()? })
    }
}
