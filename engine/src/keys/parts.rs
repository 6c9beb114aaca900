//! The pieces of keys: big-endian numbers in a row.

use super::Kind;
use crate::ids::{DepartmentId, QueueId, QueueRef, SubscriptionId, SubscriptionRef, TenantId};

/// Puts a key together.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn queue(queue: QueueRef, kind: Kind) -> Self {
        Self(Vec::with_capacity(32)).u32(queue.department.0).u32(queue.queue.0).u8(kind as u8)
    }

    pub(super) fn subscription(subscription: SubscriptionRef, kind: Kind) -> Self {
        Self::queue(subscription.queue, kind).u32(subscription.subscription.0)
    }

    pub(super) fn shard(shard: u16) -> Self {
        Self(Vec::with_capacity(40)).u16(shard)
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// A caller, in so many bytes that another's keys do not begin so.
    pub(super) fn caller(self, tenant: TenantId, subject: &str) -> Self {
        // A subject is short; a longer one would not decode, and is refused before it comes here.
        let length = u16::try_from(subject.len()).unwrap_or(u16::MAX);
        self.u32(tenant.0).u16(length).bytes(subject.as_bytes())
    }

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

    pub(super) fn kind(&mut self, kind: Kind) -> Option<()> {
        (self.u8()? == kind as u8).then_some(())
    }

    pub(super) fn queue(&mut self, kind: Kind) -> Option<QueueRef> {
        let queue = self.queue_ref()?;
        self.kind(kind)?;
        Some(queue)
    }

    pub(super) fn queue_ref(&mut self) -> Option<QueueRef> {
        Some(QueueRef { department: DepartmentId(self.u32()?), queue: QueueId(self.u32()?) })
    }

    pub(super) fn subscription(&mut self, kind: Kind) -> Option<SubscriptionRef> {
        let queue = self.queue(kind)?;
        Some(SubscriptionRef { queue, subscription: SubscriptionId(self.u32()?) })
    }

    pub(super) fn subscription_ref(&mut self) -> Option<SubscriptionRef> {
        Some(SubscriptionRef { queue: self.queue_ref()?, subscription: SubscriptionId(self.u32()?) })
    }

    pub(super) fn caller(&mut self) -> Option<(TenantId, String)> {
        let (tenant, length) = (TenantId(self.u32()?), usize::from(self.u16()?));
        let (subject, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((tenant, Reader(subject).text()?))
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn text(self) -> Option<String> {
        String::from_utf8(self.0.to_vec()).ok()
    }

    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
