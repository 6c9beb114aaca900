//! How commands are gathered for the log.

use posthouse_engine::{
    ids::ShardId,
    schema::{Command, Settle, SettleItem, SettleKind, TokenRef},
};

use crate::{
    clock::Now,
    shard::{Reply, pending::Pending},
};

#[test]
fn a_batch_is_no_more_work_if_settlements_are_one_item() {
    let deliveries = (0..1_024).map(|index| TokenRef { lease: 1, index, nonce: 9 });
    let items = SettleItem::coalesce(deliveries.map(|token| SettleItem::one(token, SettleKind::Nack, 0)));
    assert_eq!(items.len(), 1);
    let mut pending = Pending::default();
    for _ in 0..500 {
        let settle = Settle { items: items.clone(), ..Settle::default() };
        pending.push(Command::Settle(settle), Reply::Nobody);
    }
    let mut settled = Vec::new();
    while let Some((batch, _)) = pending.next_batch(ShardId(0), Now::at(7, 7), 1) {
        assert_eq!(batch.messages(), batch.batch.commands.len() * 1_024);
        settled.push(batch.messages());
    }
    assert_eq!(settled.iter().sum::<usize>(), 500 * 1_024);
    assert!(settled.iter().all(|settled| *settled <= 110_000), "{settled:?}");
}
