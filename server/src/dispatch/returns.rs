//! Leases that are being returned, by commands that are not applied yet. A stream that resumes their session meanwhile
//! must not be sent them, since it is about to lose them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use posthouse_engine::{
    ids::SubscriptionRef,
    limits::MAX_SETTLE_ITEMS,
    outcome::LiveDelivery,
    schema::{Command, Holder, ReleaseHolder, Settle, SettleItem, SettleKind},
};

use crate::shard::Reply;

/// The leases that the holders of one subscription return.
#[derive(Default)]
pub(crate) struct Returns {
    /// By holder, and by the number of the command: a subscription may have thousands of streams that end together.
    under_way: HashMap<Holder, BTreeMap<u64, ReturnedItems>>,
    holders: HashMap<u64, Holder>,
    last: u64,
}

/// Lease and index of each delivery that one command returns; `None` stands for everything that the holder has.
type ReturnedItems = Option<BTreeSet<(u64, u32)>>;

/// Identifies a command that returns leases, in its outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReturnTag {
    pub(crate) subscription: SubscriptionRef,
    number: u64,
}

impl Returns {
    /// The commands that return what could not be delivered, without counting an attempt. A stream may hold more leases
    /// than one command can settle, and a command that is too long would halt the shard.
    pub(crate) fn return_leases(
        &mut self,
        at: SubscriptionRef,
        holder: &Holder,
        leases: &[LiveDelivery],
    ) -> Vec<(Command, Reply)> {
        leases.chunks(MAX_SETTLE_ITEMS).map(|leases| self.return_some(at, holder.clone(), leases)).collect()
    }

    fn return_some(
        &mut self,
        at: SubscriptionRef,
        holder: Holder,
        leases: &[LiveDelivery],
    ) -> (Command, Reply) {
        let returned = leases.iter().map(item_key).collect();
        let items = leases.iter().map(|live| SettleItem::one(live.token(), SettleKind::Release, 0));
        let settle = Settle {
            department: at.queue.department.0,
            queue: at.queue.queue.0,
            subscription: at.subscription.0,
            holder: Some(holder.clone()),
            items: SettleItem::coalesce(items),
        };
        (Command::Settle(settle), self.begin(at, holder, Some(returned)))
    }

    /// The command that returns all leases of a holder.
    pub(crate) fn return_all(&mut self, at: SubscriptionRef, holder: Holder) -> (Command, Reply) {
        let release = ReleaseHolder {
            department: at.queue.department.0,
            queue: at.queue.queue.0,
            subscription: at.subscription.0,
            holder: Some(holder.clone()),
        };
        (Command::ReleaseHolder(release), self.begin(at, holder, None))
    }

    fn begin(&mut self, subscription: SubscriptionRef, holder: Holder, leases: ReturnedItems) -> Reply {
        self.last += 1;
        self.holders.insert(self.last, holder.clone());
        self.under_way.entry(holder).or_default().insert(self.last, leases);
        Reply::Return(ReturnTag { subscription, number: self.last })
    }

    /// A command is applied, or will not be.
    pub(crate) fn end(&mut self, tag: ReturnTag) {
        let Some(holder) = self.holders.remove(&tag.number) else { return };
        if let Some(of_holder) = self.under_way.get_mut(&holder) {
            of_holder.remove(&tag.number);
            if of_holder.is_empty() {
                self.under_way.remove(&holder);
            }
        }
    }

    /// Whether the holder is about to lose this delivery.
    pub(crate) fn include(&self, holder: &Holder, live: &LiveDelivery) -> bool {
        let mut of_holder = self.under_way.get(holder).into_iter().flat_map(BTreeMap::values);
        of_holder.any(|leases| leases.as_ref().is_none_or(|leases| leases.contains(&item_key(live))))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}

/// Which delivery of a subscription it is.
fn item_key(live: &LiveDelivery) -> (u64, u32) {
    (live.lease.0, live.item.index)
}
