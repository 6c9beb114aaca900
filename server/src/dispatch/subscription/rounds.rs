//! The rounds in which a subscription's sessions are served: which session is leased messages next.

use posthouse_engine::{
    halt::Halt,
    ids::{LANES, SubscriptionRef},
    kv::Kv,
    machine::ShardMachine,
    schema::{Command, Grant},
};

use super::{
    super::{
        pick::{Line, Stored, ToStore, pick},
        session::Session,
    },
    GrantTag, Subscription,
};
use crate::shard::Reply;

/// Messages picked for one session in one round: few enough to share a short queue.
const ROUND_MESSAGES: usize = 256;
/// The limit while about so many are ready for every session: they are read from the disk in one piece.
const LONG_ROUND_MESSAGES: usize = 512;

/// The round of the sessions.
#[derive(Clone, Copy)]
struct Round {
    /// About how many messages there are for all.
    messages: u64,
    /// For one session at once.
    max: usize,
    max_commands: usize,
    /// See [`Grant`].
    next_sequence: u64,
}

/// Messages of one queue that the next batch stores.
pub(crate) struct Coming {
    /// How many others are in the log before them, and not yet stored.
    pub(crate) under_way: u64,
    /// Bytes of their payloads.
    pub(crate) sizes: Vec<u32>,
    /// The number of grants for which the batch has capacity.
    pub(crate) max_grants: usize,
}

impl Subscription {
    /// Picks for one session after the other, until nothing is ready or no session has credit.
    pub(crate) fn pump(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
        commands: &mut Vec<(Command, Reply)>,
    ) -> Result<(), Halt> {
        // Picked messages count as ready until their grant is applied.
        let ready = machine.counts(kv, at)?.map_or(0, |counts| counts.ready);
        let messages = ready.saturating_sub(self.picked);
        let long = messages >= (self.sessions.queued() * LONG_ROUND_MESSAGES) as u64;
        let max = if long { LONG_ROUND_MESSAGES } else { ROUND_MESSAGES };
        let round = Round { messages, max, max_commands: usize::MAX, next_sequence: 0 };
        let mut picker = std::mem::take(&mut self.picker);
        let done = self.run_round(at, round, commands, &mut Stored { picker: &mut picker, at, machine, kv });
        self.picker = picker;
        done
    }

    /// Leases messages that the next batch stores: from `first` on, if all batches on their way are stored. It does so
    /// only if every message before them is leased: then the sessions with credit would get them next anyway.
    pub(crate) fn lease_ahead(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
        first: u64,
        coming: &Coming,
        commands: &mut Vec<(Command, Reply)>,
    ) -> Result<(), Halt> {
        let Coming { under_way, ref sizes, max_grants } = *coming;
        let in_order = under_way == 0 || self.ahead == first;
        self.ahead = 0;
        let has_credit = self.sessions.queued() > 0 || self.sessions.any_short();
        if !in_order || !has_credit || self.picker.is_ready(at, machine, kv)? {
            return Ok(());
        }
        let mut rest = ToStore { first, sizes };
        let after = first + sizes.len() as u64;
        let max_commands = commands.len() + max_grants;
        let round =
            Round { messages: sizes.len() as u64, max: ROUND_MESSAGES, max_commands, next_sequence: after };
        self.run_round(at, round, commands, &mut rest)?;
        self.ahead = rest.first;
        Ok(())
    }

    /// Lets one session after the other pick, until nothing is left that a session has credit for. If fewer messages
    /// are ready than there is credit, they are shared: in each round every session gets the same part of what is left,
    /// or less if it has less credit.
    fn run_round(
        &mut self,
        at: SubscriptionRef,
        round: Round,
        commands: &mut Vec<(Command, Reply)>,
        line: &mut impl Line,
    ) -> Result<(), Halt> {
        let (mut left, mut left_in_round) = (round.messages, 0);
        while commands.len() < round.max_commands {
            if self.sessions.any_short()
                && let Some(next) = line.next()?
            {
                self.sessions.enough_for(line.size(next)?);
            }
            if left_in_round == 0 {
                left_in_round = self.sessions.queued();
            }
            let Some(session) = self.sessions.next() else { break };
            let share = share(left, left_in_round, round.max_commands - commands.len(), round.max);
            let picked = pick(line, session, session.messages().min(share))?;
            if picked.messages.is_empty() && !picked.short {
                // Nothing is left; who is next stays next.
                break;
            }
            let key = session.key;
            if !picked.messages.is_empty() {
                left = left.saturating_sub(picked.messages.len() as u64);
                let (command, tag) = grant(at, session, picked.messages, round.next_sequence, self.rewound);
                if !tag.ahead {
                    self.picked += tag.picked.len() as u64;
                }
                commands.push((command, Reply::Grant(Box::new(tag))));
            }
            self.sessions.end_round(key, picked.short);
            left_in_round -= 1;
        }
        Ok(())
    }
}

/// The part of one session, with this many messages left for this many sessions, and capacity for this many grants.
fn share(left: u64, sessions: usize, grants: usize, max: usize) -> usize {
    // There is more than was known of.
    if left == 0 {
        return max;
    }
    let part = left.div_ceil(sessions.min(grants).max(1) as u64);
    usize::try_from(part).unwrap_or(max).min(max)
}

fn grant(
    at: SubscriptionRef,
    session: &Session,
    mut picked: Vec<(u64, u32)>,
    next_sequence: u64,
    rewound: u64,
) -> (Command, GrantTag) {
    picked.sort_unstable();
    let [lane] = LANES;
    let command = Command::Grant(Grant {
        department: at.queue.department.0,
        queue: at.queue.queue.0,
        subscription: at.subscription.0,
        lane: u32::from(lane.0),
        holder: Some(session.holder.clone()),
        sequences: picked.iter().map(|(sequence, _)| *sequence).collect(),
        duration_ms: session.lease_duration_ms,
        nonce: rand::random(),
        next_sequence,
    });
    let (holder, ahead) = (session.holder.clone(), next_sequence > 0);
    (command, GrantTag { subscription: at, holder, key: session.key, picked, ahead, rewound })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_little_is_shared_and_what_is_plenty_goes_in_large_pieces() {
        assert_eq!(share(100, 4, 1_000, ROUND_MESSAGES), 25);
        assert_eq!(share(101, 4, 1_000, ROUND_MESSAGES), 26);
        assert_eq!(share(3, 4, 1_000, ROUND_MESSAGES), 1);
        assert_eq!(share(10_000, 4, 1_000, ROUND_MESSAGES), ROUND_MESSAGES);
        // A batch with capacity for few grants has larger ones.
        assert_eq!(share(100, 50, 2, ROUND_MESSAGES), 50);
        assert_eq!(share(0, 4, 1_000, ROUND_MESSAGES), ROUND_MESSAGES);
    }
}
