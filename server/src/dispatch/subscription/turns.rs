//! The turns a subscription's sessions take: who is leased what next.

use posthouse_engine::{
    halt::Halt,
    ids::{DEFAULT_LANE, SubscriptionRef},
    kv::Kv,
    machine::ShardMachine,
    schema::{Command, Grant},
};

use super::{
    super::{pick::Picker, session::Session},
    GrantTag, Subscription,
};
use crate::shard::Reply;

/// Messages picked for one session in one turn: few enough to share a short queue.
const TURN: usize = 256;
/// The same while about so many are ready for every session: they are read from the disk in one piece.
const LONG_TURN: usize = 512;

/// How the sessions take turns.
#[derive(Clone, Copy)]
struct Turn {
    /// For one session at once.
    messages: usize,
    most_commands: usize,
    /// See [`Grant`].
    next_sequence: u64,
}

/// Messages of one queue that the next batch stores.
pub(crate) struct Coming {
    /// How many others are in the log before them, and not yet stored.
    pub(crate) under_way: u64,
    /// Bytes of their payloads.
    pub(crate) sizes: Vec<u32>,
    /// For so many grants the batch has room.
    pub(crate) most_grants: usize,
}

impl Subscription {
    /// Picks for one session after the other, until nothing is ready or nobody has credit.
    pub(crate) fn pump(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
        commands: &mut Vec<(Command, Reply)>,
    ) -> Result<(), Halt> {
        let ready = machine.counts(kv, at)?.map_or(0, |counts| counts.ready);
        let long = ready >= (self.sessions.len() * LONG_TURN) as u64;
        let messages = if long { LONG_TURN } else { TURN };
        let turn = Turn { messages, most_commands: usize::MAX, next_sequence: 0 };
        self.turns(at, turn, commands, |picker, session, want| picker.pick(at, machine, kv, session, want))
    }

    /// Leases messages that the next batch stores, from `first` on if all that is under way is stored. Only if whatever is
    /// before them is leased: who has credit then would get them next anyway.
    pub(crate) fn lease_ahead(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
        first: u64,
        coming: &Coming,
        commands: &mut Vec<(Command, Reply)>,
    ) -> Result<(), Halt> {
        let Coming { under_way, ref sizes, most_grants } = *coming;
        let in_turn = under_way == 0 || self.ahead == first;
        self.ahead = 0;
        let has_credit = self.sessions.iter().any(|session| session.messages() > 0);
        if !in_turn || !has_credit || self.picker.is_ready(at, machine, kv)? {
            return Ok(());
        }
        let mut rest = (first..).zip(sizes.iter().copied()).peekable();
        let after = first + sizes.len() as u64;
        let most = commands.len() + most_grants;
        self.turns(
            at,
            Turn { messages: TURN, most_commands: most, next_sequence: after },
            commands,
            |_, session, want| {
                let mut picked = Vec::new();
                while picked.len() < want
                    && let Some((sequence, size)) = rest.peek()
                {
                    let size = if session.counts_bytes() { *size } else { 0 };
                    if !session.take(size) {
                        break;
                    }
                    picked.push((*sequence, size));
                    rest.next();
                }
                Ok(picked)
            },
        )?;
        self.ahead = rest.peek().map_or(after, |(sequence, _)| *sequence);
        Ok(())
    }

    /// Lets one session after the other pick, until nobody picks any more.
    fn turns(
        &mut self,
        at: SubscriptionRef,
        turn: Turn,
        commands: &mut Vec<(Command, Reply)>,
        mut pick: impl FnMut(&mut Picker, &mut Session, usize) -> Result<Vec<(u64, u32)>, Halt>,
    ) -> Result<(), Halt> {
        let mut passed = 0;
        while passed < self.sessions.len() && commands.len() < turn.most_commands {
            self.turn %= self.sessions.len();
            let Some(session) = self.sessions.get_mut(self.turn) else { break };
            self.turn += 1;
            let want = session.messages().min(turn.messages);
            if want == 0 {
                passed += 1;
                continue;
            }
            let picked = pick(&mut self.picker, session, want)?;
            if picked.is_empty() {
                passed += 1;
                continue;
            }
            passed = 0;
            commands.push(grant(at, session, picked, turn.next_sequence));
        }
        Ok(())
    }
}

fn grant(
    at: SubscriptionRef,
    session: &Session,
    mut picked: Vec<(u64, u32)>,
    next_sequence: u64,
) -> (Command, Reply) {
    picked.sort_unstable();
    let command = Command::Grant(Grant {
        department: at.queue.department.0,
        queue: at.queue.queue.0,
        subscription: at.subscription.0,
        lane: u32::from(DEFAULT_LANE.0),
        holder: Some(session.holder.clone()),
        sequences: picked.iter().map(|(sequence, _)| *sequence).collect(),
        duration_ms: session.lease_duration_ms,
        nonce: rand::random(),
        next_sequence,
    });
    let (holder, ahead) = (session.holder.clone(), next_sequence > 0);
    let tag = GrantTag { subscription: at, holder, key: session.key, picked, ahead };
    (command, Reply::Grant(Box::new(tag)))
}
