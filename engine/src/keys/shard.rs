//! A shard: `shard | kind` -> its applied index, its time, its leader epoch.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{ids::ShardId, kv::Family, schema::ShardRow};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardKey {
    /// Which.
    pub shard: ShardId,
}

impl Key for ShardKey {
    const FAMILY: Family = Family::Meta;
    const KIND: Kind = Kind::Shard;
    type Row = ShardRow;

    fn encode(&self) -> Vec<u8> {
        Writer::shard(self.shard.0).u8(Self::KIND as u8).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let shard = ShardId(key.u16()?);
        key.kind(Self::KIND)?;
        key.end()?;
        Some(Self { shard })
    }
}
