//! Settlements in the log, run-length coded: those of successive deliveries of a lease with the same kind and delay
//! are one item.

use crate::schema::{Settle, SettleItem, SettleKind, TokenRef};

impl Settle {
    /// The number of deliveries that it settles.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.items.iter().map(SettleItem::deliveries).fold(0, usize::saturating_add)
    }
}

impl SettleItem {
    /// The settlement of one delivery.
    #[must_use]
    pub fn one(token: TokenRef, kind: SettleKind, delay_ms: u64) -> Self {
        Self { token: Some(token), kind: kind.into(), delay_ms, count: 1 }
    }

    /// Settlements of one delivery each, in as few items as their order allows. A lease is mostly settled whole and
    /// in its order, and then takes no more of the log than one delivery.
    #[must_use]
    pub fn coalesce(settlements: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut items: Vec<Self> = Vec::new();
        for item in settlements {
            match items.last_mut().filter(|last| last.is_followed_by(&item)) {
                Some(last) => last.count += 1,
                None => items.push(item),
            }
        }
        items
    }

    /// The number of deliveries that it settles.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        // Older logs have no counts: 0.
        usize::try_from(self.count.max(1)).unwrap_or(usize::MAX)
    }

    /// The settlements of the single deliveries.
    pub(crate) fn expand(&self) -> impl Iterator<Item = Self> + use<> {
        let item = *self;
        (0..item.count.max(1)).map(move |behind| {
            // No lease has the highest index that there can be.
            let index = |first: u32| first.saturating_add(behind);
            let token = item.token.map(|first| TokenRef { index: index(first.index), ..first });
            Self { token, count: 1, ..item }
        })
    }

    fn is_followed_by(&self, item: &Self) -> bool {
        let next = self.token.and_then(|first| {
            let index = first.index.checked_add(self.count)?;
            Some(TokenRef { index, ..first })
        });
        next.is_some() && next == item.token && (self.kind, self.delay_ms) == (item.kind, item.delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ack(index: u32) -> SettleItem {
        SettleItem::one(TokenRef { lease: 1, index, nonce: 9 }, SettleKind::Ack, 0)
    }

    #[test]
    fn the_deliveries_of_a_lease_are_one_item() {
        let items = SettleItem::coalesce((0..1_000).chain(1_001..1_003).map(ack));
        assert_eq!(items, [SettleItem { count: 1_000, ..ack(0) }, SettleItem { count: 2, ..ack(1_001) }]);
        assert_eq!(items.iter().map(SettleItem::deliveries).sum::<usize>(), 1_002);
        let old = SettleItem { count: 0, ..ack(0) };
        assert_eq!((old.deliveries(), old.expand().collect::<Vec<_>>()), (1, vec![ack(0)]));
    }

    fn one() -> impl Strategy<Value = SettleItem> {
        let index = prop_oneof![20 => 0..6_u32, 1 => u32::MAX - 1..=u32::MAX];
        (1..3_u64, index, 1..3_u64, 1..3_i32, 0..2_u64).prop_map(|(lease, index, nonce, kind, delay_ms)| {
            SettleItem { token: Some(TokenRef { lease, index, nonce }), kind, delay_ms, count: 1 }
        })
    }

    proptest! {
        #[test]
        fn what_was_coalesced_expands_to_the_same(settlements in prop::collection::vec(one(), 0..40)) {
            let items = SettleItem::coalesce(settlements.clone());
            let apart: Vec<_> = items.iter().flat_map(SettleItem::expand).collect();
            prop_assert_eq!(apart, settlements);
        }
    }
}
