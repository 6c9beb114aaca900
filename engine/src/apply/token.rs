//! Checks the tokens of settlements and extensions: lease, index and nonce, and the holder.

use std::collections::BTreeMap;

use crate::{
    halt::Halt,
    ids::LeaseId,
    keys::{LeaseKey, ProgressKey},
    machine::Transaction,
    schema::{Holder, SettleKind, TokenRef},
    state::{Index, OpenLease, Subscription},
};

/// The delivery of a token.
pub(super) enum Token {
    /// The delivery is open.
    Open { lease: u64, index: usize },
    /// The holder has settled it before, in this way.
    Settled(SettleKind),
    /// The deadline has passed.
    Lost,
    /// The deadline has passed, and the message was settled under another lease.
    SettledByAnother,
    /// The message was purged.
    Purged,
    /// There is no such delivery, or another holder has it.
    Invalid,
}

/// Reads tokens of one holder, and each closed lease once.
pub(super) struct Tokens<'a> {
    holder: &'a Holder,
    closed: BTreeMap<u64, Option<OpenLease>>,
}

impl<'a> Tokens<'a> {
    pub(super) const fn new(holder: &'a Holder) -> Self {
        Self { holder, closed: BTreeMap::new() }
    }

    pub(super) fn read(
        &mut self,
        txn: &Transaction<'_>,
        subscription: &Subscription,
        token: &TokenRef,
    ) -> Result<Token, Halt> {
        let holder = self.holder;
        let lease = match subscription.leases.get(&token.lease) {
            Some(open) => Some(open),
            None => self.closed(txn, subscription, token.lease)?,
        };
        let Some(lease) = lease else { return Ok(Token::Invalid) };
        let index = token.index as usize;
        let same_holder = lease.holder.tenant == holder.tenant && lease.holder.subject == holder.subject;
        if lease.nonce != token.nonce || !same_holder || index >= lease.sequences.len() {
            return Ok(Token::Invalid);
        }
        Ok(match lease.outcome(index)? {
            Index::Open => Token::Open { lease: token.lease, index },
            Index::Acked => Token::Settled(SettleKind::Ack),
            Index::Nacked => Token::Settled(SettleKind::Nack),
            Index::Released => Token::Settled(SettleKind::Release),
            Index::DeadLettered => Token::Settled(SettleKind::DeadLetter),
            Index::Lost if subscription.is_settled(lease.sequences[index]) => Token::SettledByAnother,
            Index::Lost => Token::Lost,
            Index::Purged => Token::Purged,
        })
    }

    fn closed(
        &mut self,
        txn: &Transaction<'_>,
        subscription: &Subscription,
        id: u64,
    ) -> Result<Option<&OpenLease>, Halt> {
        use std::collections::btree_map::Entry;
        match self.closed.entry(id) {
            Entry::Occupied(read) => Ok(read.into_mut().as_ref()),
            Entry::Vacant(unread) => Ok(unread.insert(read_closed(txn, subscription, LeaseId(id))?).as_ref()),
        }
    }
}

fn read_closed(
    txn: &Transaction<'_>,
    subscription: &Subscription,
    lease: LeaseId,
) -> Result<Option<OpenLease>, Halt> {
    let id = subscription.id;
    if lease.0 == 0 || lease.0 >= subscription.row.next_lease {
        return Ok(None);
    }
    let Some(row) = txn.rows.row(&LeaseKey { subscription: id, lease })? else { return Ok(None) };
    let Some(progress) = txn.rows.row(&ProgressKey { subscription: id, lease })? else {
        return Err(Halt::Corrupt(format!("lease {lease} has no progress")));
    };
    OpenLease::from_rows(lease, row, &progress).map(Some)
}
