//! The bytes of a segment file, little-endian.
//!
//! ```text
//! segment:  header (whole blocks) | group | group | ... | zeroes (format 1) or anything (2), up to the header's size
//! header:   magic 8 | format 4 | length 4 | id 8 | nonce 8 | previous nonce 8 | previous sequence 8 | size 8
//!           | count 4 | count times (group 2, last index 8) | checksum 4
//! group:    magic 4 | kind 2 | zero 2 | nonce 8 | sequence 8 | previous end 8 | body length 4 | records 4
//!           | body checksum 4 | checksum 4 | body | zeroes up to the next block
//! record:   group 2 | zero 2 | length 4 | index 8 | data
//! ```
//!
//! A group starts on a block of its own, so that writing it never touches bytes that are durable already. The nonce is
//! random for each segment and part of every group: bytes of another file, or a payload made to look like a group, are
//! never mistaken for one. The sequence counts groups over all segments; `previous end` is where the last durable group
//! ended, so a group that can be read proves every group before it to have been durable. A segment of format 2 was made
//! of a trimmed segment's file, and has its bytes behind the groups.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, TryGetError};

use super::{Entry, GroupId};

/// The newest segment format this code writes and reads.
pub(super) const FORMAT: u32 = REUSED;
const FILLED: u32 = 1;
const REUSED: u32 = 2;
/// Headers and groups start on multiples of this.
pub(super) const BLOCK: u64 = 4_096;
/// Bytes of a group before its records.
pub(super) const GROUP_HEADER: usize = 48;
/// Bytes of a record before its data.
pub(super) const RECORD_HEADER: usize = 16;

const SEGMENT_MAGIC: &[u8; 8] = b"PHLOGSEG";
const SEGMENT_FIXED: usize = 60;
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"PHGR");

/// What a segment's header says of it and of the segment before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub id: u64,
    pub nonce: u64,
    pub previous_nonce: u64,
    /// The last group before this segment.
    pub previous_sequence: u64,
    /// Bytes of the whole file.
    pub size: u64,
    /// Whether the file was a segment before, so that what lies behind the groups says nothing.
    pub recycled: bool,
    /// The last index of each group before this segment.
    pub base: BTreeMap<GroupId, u64>,
}

/// Why bytes are not a segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    Newer(u32),
    Damaged,
}

impl From<TryGetError> for HeaderError {
    fn from(_: TryGetError) -> Self {
        Self::Damaged
    }
}

impl SegmentHeader {
    /// Its size in the file, in bytes.
    pub fn len(&self) -> u64 {
        ((SEGMENT_FIXED + 10 * self.base.len() + 4) as u64).next_multiple_of(BLOCK)
    }

    pub fn encode(&self) -> Vec<u8> {
        let len = self.len();
        let mut out = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        out.put_slice(SEGMENT_MAGIC);
        out.put_u32_le(if self.recycled { REUSED } else { FILLED });
        // A header is at most 64 Ki groups of ten bytes.
        out.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
        for value in [self.id, self.nonce, self.previous_nonce, self.previous_sequence, self.size] {
            out.put_u64_le(value);
        }
        out.put_u32_le(u32::try_from(self.base.len()).unwrap_or(u32::MAX));
        for (group, index) in &self.base {
            out.put_u16_le(group.0);
            out.put_u64_le(*index);
        }
        out.put_u32_le(crc32c::crc32c(&out));
        pad(&mut out);
        out
    }

    /// How many bytes the header has whose first block this is.
    pub fn length_of(block: &[u8]) -> Result<usize, HeaderError> {
        let mut bytes = block;
        if bytes.len() < 16 || !bytes.starts_with(SEGMENT_MAGIC) {
            return Err(HeaderError::Damaged);
        }
        bytes.advance(SEGMENT_MAGIC.len());
        let format = bytes.try_get_u32_le()?;
        if format > FORMAT {
            return Err(HeaderError::Newer(format));
        }
        let len = bytes.try_get_u32_le()?;
        let sound = format >= FILLED && len > 0 && u64::from(len).is_multiple_of(BLOCK) && len <= 1 << 20;
        if sound { Ok(len as usize) } else { Err(HeaderError::Damaged) }
    }

    /// Reads a header from exactly its bytes.
    pub fn decode(header: &[u8]) -> Result<Self, HeaderError> {
        if Self::length_of(header)? != header.len() {
            return Err(HeaderError::Damaged);
        }
        let mut bytes = &header[SEGMENT_MAGIC.len()..];
        let recycled = bytes.try_get_u32_le()? == REUSED;
        let _len = bytes.try_get_u32_le()?;
        let [mut id, mut nonce, mut previous_nonce, mut previous_sequence, mut size] = [0; 5];
        for value in [&mut id, &mut nonce, &mut previous_nonce, &mut previous_sequence, &mut size] {
            *value = bytes.try_get_u64_le()?;
        }
        let count = bytes.try_get_u32_le()?;
        let mut base = BTreeMap::new();
        for _ in 0..count {
            base.insert(GroupId(bytes.try_get_u16_le()?), bytes.try_get_u64_le()?);
        }
        let summed = header.len() - bytes.len();
        if bytes.try_get_u32_le()? != crc32c::crc32c(&header[..summed]) {
            return Err(HeaderError::Damaged);
        }
        Ok(Self { id, nonce, previous_nonce, previous_sequence, size, recycled, base })
    }
}

/// The purpose of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Entries.
    Data,
    /// Nothing follows in this segment, and there is a next one.
    Seal,
    /// The log was closed: everything before is durable.
    Mark,
}

/// A group without its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub kind: Kind,
    pub sequence: u64,
    pub previous_end: u64,
    pub body: u32,
    pub records: u32,
    pub checksum: u32,
}

impl GroupHeader {
    /// The group's size in the file, in bytes.
    pub fn len(&self) -> u64 {
        group_len(self.body as usize)
    }

    /// Reads a group's header, if these bytes are one of the segment with this nonce.
    pub fn decode(header: &[u8], nonce: u64) -> Option<Self> {
        let summed = header.get(..GROUP_HEADER - 4)?;
        let mut bytes = header;
        let magic = bytes.try_get_u32_le().ok()?;
        let kind = match bytes.try_get_u16_le().ok()? {
            1 => Kind::Data,
            2 => Kind::Seal,
            3 => Kind::Mark,
            _ => return None,
        };
        bytes.advance(2);
        let own = bytes.try_get_u64_le().ok()? == nonce;
        let sequence = bytes.try_get_u64_le().ok()?;
        let previous_end = bytes.try_get_u64_le().ok()?;
        let body = bytes.try_get_u32_le().ok()?;
        let records = bytes.try_get_u32_le().ok()?;
        let checksum = bytes.try_get_u32_le().ok()?;
        let sound = magic == GROUP_MAGIC && own && bytes.try_get_u32_le().ok()? == crc32c::crc32c(summed);
        sound.then_some(Self { kind, sequence, previous_end, body, records, checksum })
    }
}

/// The size in the file of a group with a body of this many bytes.
pub(super) fn group_len(body: usize) -> u64 {
    ((GROUP_HEADER + body) as u64).next_multiple_of(BLOCK)
}

/// The position of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupPosition {
    pub nonce: u64,
    pub sequence: u64,
    pub previous_end: u64,
}

/// Appends a whole group, padding included.
pub(super) fn encode_group(out: &mut Vec<u8>, kind: Kind, position: GroupPosition, entries: &[Entry]) {
    let start = out.len();
    out.resize(start + GROUP_HEADER, 0);
    for entry in entries {
        out.put_u16_le(entry.group.0);
        out.put_u16_le(0);
        out.put_u32_le(u32::try_from(entry.data.len()).unwrap_or(u32::MAX));
        out.put_u64_le(entry.index);
        out.put_slice(&entry.data);
    }
    let group = &mut out[start..];
    let (mut header, body) = group.split_at_mut(GROUP_HEADER);
    header.put_u32_le(GROUP_MAGIC);
    header.put_u16_le(match kind {
        Kind::Data => 1,
        Kind::Seal => 2,
        Kind::Mark => 3,
    });
    header.put_u16_le(0);
    header.put_u64_le(position.nonce);
    header.put_u64_le(position.sequence);
    header.put_u64_le(position.previous_end);
    // The limits on entries and groups keep both far below four billion.
    header.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
    header.put_u32_le(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    header.put_u32_le(crc32c::crc32c(body));
    let summed = crc32c::crc32c(&group[..GROUP_HEADER - 4]);
    group[GROUP_HEADER - 4..GROUP_HEADER].copy_from_slice(&summed.to_le_bytes());
    let len = group.len().next_multiple_of(usize::try_from(BLOCK).unwrap_or_default());
    out.resize(start + len, 0);
}

/// A record without its data, which begins at `at` in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub group: GroupId,
    pub index: u64,
    pub at: usize,
    pub len: u32,
}

/// The records of a body, or `None` if it does not consist of exactly `count` records.
pub(super) fn records(body: &[u8], count: u32) -> Option<Vec<Record>> {
    let mut out = Vec::new();
    let mut bytes = body;
    for _ in 0..count {
        let group = GroupId(bytes.try_get_u16_le().ok()?);
        let _zero = bytes.try_get_u16_le().ok()?;
        let len = bytes.try_get_u32_le().ok()?;
        let index = bytes.try_get_u64_le().ok()?;
        let at = body.len() - bytes.len();
        bytes = bytes.get(len as usize..)?;
        out.push(Record { group, index, at, len });
    }
    bytes.is_empty().then_some(out)
}

fn pad(out: &mut Vec<u8>) {
    let block = usize::try_from(BLOCK).unwrap_or_default();
    out.resize(out.len().next_multiple_of(block), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_header_comes_back_and_every_flipped_byte_is_noticed() {
        let base = (0..700).map(|group| (GroupId(group), u64::from(group) * 3)).collect();
        let mut header = SegmentHeader {
            id: 7,
            nonce: 8,
            previous_nonce: 9,
            previous_sequence: 10,
            size: 1 << 20,
            recycled: false,
            base,
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header.clone()));
        header.recycled = true;
        let bytes = header.encode();
        assert_eq!(bytes.len() as u64, header.len());
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for at in 0..SEGMENT_FIXED + 10 * 700 + 4 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(SegmentHeader::decode(&flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let header = SegmentHeader {
            id: 1,
            nonce: 1,
            previous_nonce: 0,
            previous_sequence: 0,
            size: 8_192,
            recycled: false,
            base: BTreeMap::new(),
        };
        let mut bytes = header.encode();
        bytes[8] = 3;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Newer(3)));
    }

    #[test]
    fn a_group_comes_back_and_is_only_of_its_segment() {
        let entries = [
            Entry { group: GroupId(3), index: 1, data: vec![1; 5_000].into() },
            Entry { group: GroupId::CATALOGUE, index: 9, data: bytes::Bytes::new() },
        ];
        let mut out = Vec::new();
        let position = GroupPosition { nonce: 77, sequence: 5, previous_end: 4_096 };
        encode_group(&mut out, Kind::Data, position, &entries);
        let header = GroupHeader::decode(&out, 77).expect("a header");
        assert_eq!((header.sequence, header.previous_end, header.len()), (5, 4_096, 8_192));
        assert_eq!(GroupHeader::decode(&out, 78), None);
        let body = &out[GROUP_HEADER..GROUP_HEADER + header.body as usize];
        assert_eq!(crc32c::crc32c(body), header.checksum);
        let records = records(body, header.records).expect("records");
        assert_eq!(records[0].group, GroupId(3));
        assert_eq!(&body[records[0].at..records[0].at + 5_000], &[1; 5_000]);
        assert_eq!((records[1].group, records[1].index, records[1].len), (GroupId::CATALOGUE, 9, 0));
    }
}
