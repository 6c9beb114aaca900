//! The pieces of keys, big-endian, and the table form in which most keys are declared.

use bytes::Bytes;

use super::Kind;
use crate::ids::{
    DepartmentId, Lane, LeaseId, QueueId, QueueRef, ShardId, SubscriptionId, SubscriptionRef, TenantId,
};

/// What the rows of a kind belong to: a key begins with it, and has the kind in it or behind it.
pub(super) trait Scope: Sized {
    fn begin(&self, kind: Kind) -> Writer;

    /// `None`: the key is too short, or of another kind.
    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self>;
}

/// A piece of a key behind its scope. Text and bytes are the last piece, and as long as the rest of the key.
pub(super) trait Part: Sized {
    fn write(&self, key: Writer) -> Writer;

    /// `None`: the key is too short.
    fn read(key: &mut Reader<'_>) -> Option<Self>;
}

/// Declares keys that are a scope and parts: `Name: Kind, Family -> Row { scope: Type, part: Type, ... }`.
macro_rules! keys {
    ($($(#[$meta:meta])* $name:ident: $kind:ident, $family:ident -> $row:ty {
        $(#[$scope_doc:meta])* $scope:ident: $scope_type:ty
        $(, $(#[$doc:meta])* $part:ident: $type:ty)* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $(#[$scope_doc])*
            pub $scope: $scope_type,
            $($(#[$doc])* pub $part: $type,)*
        }

        impl Key for $name {
            const FAMILY: Family = Family::$family;
            const KIND: Kind = Kind::$kind;
            type Row = $row;

            fn encode(&self) -> Vec<u8> {
                self.$scope.begin(Self::KIND)$(.part(&self.$part))*.done()
            }

            fn decode(key: &[u8]) -> Option<Self> {
                let mut key = Reader(key);
                let $scope = Scope::read_scope(&mut key, Self::KIND)?;
                $(let $part = key.part()?;)*
                key.end()?;
                Some(Self { $scope, $($part),* })
            }
        }
    )*};
}
pub(super) use keys;

/// Puts a key together.
// Inlined, so that a key that is declared in the table costs no more than one that is put together by hand.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    #[inline]
    pub(super) fn queue(queue: QueueRef, kind: Kind) -> Self {
        Self(Vec::with_capacity(32)).u32(queue.department.0).u32(queue.queue.0).u8(kind as u8)
    }

    #[inline]
    pub(super) fn subscription(subscription: SubscriptionRef, kind: Kind) -> Self {
        Self::queue(subscription.queue, kind).u32(subscription.subscription.0)
    }

    #[inline]
    pub(super) fn shard(shard: u16) -> Self {
        Self(Vec::with_capacity(40)).u16(shard)
    }

    #[inline]
    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    #[inline]
    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    #[inline]
    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    #[inline]
    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    #[inline]
    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    #[inline]
    pub(super) fn part(self, part: &impl Part) -> Self {
        part.write(self)
    }

    /// A caller, with the length of the subject: the key of a longer subject does not begin with that of a shorter one.
    pub(super) fn caller(self, tenant: TenantId, subject: &str) -> Self {
        self.u32(tenant.0).text(subject)
    }

    /// Text with its length, before other pieces.
    pub(super) fn text(self, text: &str) -> Self {
        // Longer text would not decode, and is refused before a key is made.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.u16(length).bytes(text.as_bytes())
    }

    #[inline]
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a key apart.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn part<T: Part>(&mut self) -> Option<T> {
        T::read(self)
    }

    pub(super) fn kind(&mut self, kind: Kind) -> Option<()> {
        (self.u8()? == kind as u8).then_some(())
    }

    pub(super) fn caller(&mut self) -> Option<(TenantId, String)> {
        Some((TenantId(self.u32()?), self.text()?))
    }

    /// Text with its length.
    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    /// What is left of the key.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

impl Scope for QueueRef {
    #[inline]
    fn begin(&self, kind: Kind) -> Writer {
        Writer::queue(*self, kind)
    }

    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self> {
        let queue = key.part()?;
        key.kind(kind)?;
        Some(queue)
    }
}

impl Scope for SubscriptionRef {
    #[inline]
    fn begin(&self, kind: Kind) -> Writer {
        Writer::subscription(*self, kind)
    }

    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self> {
        let queue = Scope::read_scope(key, kind)?;
        Some(Self { queue, subscription: SubscriptionId(key.u32()?) })
    }
}

/// The rows of a department itself have queue 0.
impl Scope for DepartmentId {
    #[inline]
    fn begin(&self, kind: Kind) -> Writer {
        Writer::queue(QueueRef { department: *self, queue: QueueId(0) }, kind)
    }

    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self> {
        let QueueRef { department, queue: QueueId(0) } = Scope::read_scope(key, kind)? else { return None };
        Some(department)
    }
}

impl Scope for ShardId {
    #[inline]
    fn begin(&self, kind: Kind) -> Writer {
        Writer::shard(self.0).u8(kind as u8)
    }

    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self> {
        let shard = Self(key.u16()?);
        key.kind(kind)?;
        Some(shard)
    }
}

/// Parts that are one number.
macro_rules! numbers {
    ($($name:ident: $number:ident),*) => {$(
        impl Part for $name {
            #[inline]
            fn write(&self, key: Writer) -> Writer {
                key.$number(self.0)
            }

            fn read(key: &mut Reader<'_>) -> Option<Self> {
                key.$number().map(Self)
            }
        }
    )*};
}

numbers!(DepartmentId: u32, QueueId: u32, SubscriptionId: u32, TenantId: u32, Lane: u8, LeaseId: u64);

impl Part for u64 {
    #[inline]
    fn write(&self, key: Writer) -> Writer {
        key.u64(*self)
    }

    fn read(key: &mut Reader<'_>) -> Option<Self> {
        key.u64()
    }
}

impl Part for QueueRef {
    #[inline]
    fn write(&self, key: Writer) -> Writer {
        key.part(&self.department).part(&self.queue)
    }

    fn read(key: &mut Reader<'_>) -> Option<Self> {
        Some(Self { department: key.part()?, queue: key.part()? })
    }
}

impl Part for SubscriptionRef {
    #[inline]
    fn write(&self, key: Writer) -> Writer {
        key.part(&self.queue).part(&self.subscription)
    }

    fn read(key: &mut Reader<'_>) -> Option<Self> {
        Some(Self { queue: key.part()?, subscription: key.part()? })
    }
}

impl Part for Bytes {
    #[inline]
    fn write(&self, key: Writer) -> Writer {
        key.bytes(self)
    }

    fn read(key: &mut Reader<'_>) -> Option<Self> {
        Some(Self::copy_from_slice(key.rest()))
    }
}

impl Part for String {
    #[inline]
    fn write(&self, key: Writer) -> Writer {
        key.bytes(self.as_bytes())
    }

    fn read(key: &mut Reader<'_>) -> Option<Self> {
        Self::from_utf8(key.rest().to_vec()).ok()
    }
}
