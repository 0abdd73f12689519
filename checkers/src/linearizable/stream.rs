//! The zones as a stream: each event is judged when it happens, and the first one that makes a violation
//! certain is named, so that a run can end there.
//!
//! What [`super::zones`] says about a finished history holds for every prefix of one, since linearizability is
//! closed under prefixes and an operation that is still open is one that never returned. Nothing changes at an
//! invocation but the values that may be seen, so returns are where contradictions appear.
//!
//! Memory is what is open, not what has been. Let L be the least invocation among the operations that are open
//! and have not timed out. Every later return belongs to a call invoked at L or later, so the last invocation
//! of the block that it touches is at least L. A block whose first return lies before L therefore precedes
//! every block that is touched from now on: it is *retired*, and only two numbers remain of all retired blocks,
//! the two greatest last invocations (two, so that a block can be compared with the others). Once another
//! retired block was invoked after a block's first return, touching that block again is a violation, and its
//! values are *forgotten*: reading a value that nobody knows is a violation as well, so nothing is lost. What
//! never returned and was not seen stays, since somebody may yet see it ([`in_doubt`]).
//!
//! A key is judged as long as its values are unique. After a value was written a second time, or an operation
//! that a register does not know, its stream says nothing more ([`Stream::is_blind`]); the finished history is
//! judged by other means.

mod in_doubt;
mod slab;
mod violation;

use std::collections::{HashMap, VecDeque};

use super::hash::BuildMix;
use crate::history::{Completion, Event, Op, ProcessId, Reply, Time};
use crate::model::{Held, Model, Register, RegisterView};
use in_doubt::InDoubt;
use slab::Slab;

pub use violation::{Problem, Violation};

/// Judges every key of a run as it goes on.
#[derive(Debug, Default)]
pub struct StreamChecker {
    keys: Vec<Stream>,
    key_of: HashMap<String, usize, BuildMix>,
    /// The key that each process is busy with.
    busy: HashMap<ProcessId, usize, BuildMix>,
}

impl StreamChecker {
    /// Nothing has happened yet.
    pub fn new() -> StreamChecker {
        StreamChecker::default()
    }

    /// Takes the next event of the history. Once a key was violated, its further violations are not reported.
    pub fn on_event(&mut self, event: &Event) -> Option<Violation> {
        let key = match event {
            Event::Invoke { process, op, .. } => {
                let name = op.key()?;
                let key = match self.key_of.get(name) {
                    Some(&key) => key,
                    None => {
                        self.key_of.insert(name.to_owned(), self.keys.len());
                        self.keys.push(Stream::new(name));
                        self.keys.len() - 1
                    }
                };
                self.busy.insert(*process, key);
                key
            }
            Event::Complete { process, .. } => self.busy.remove(process)?,
            Event::Fault { .. } | Event::Death { .. } | Event::Phase { .. } => return None,
        };
        self.keys[key].on_event(event)
    }

    /// How many values, blocks and open operations are remembered: what memory depends on.
    pub fn remembered(&self) -> usize {
        let of_key = |stream: &Stream| stream.stage_of.len() + stream.blocks.len() + stream.open.len();
        self.keys.iter().map(of_key).sum::<usize>() + self.in_doubt()
    }

    /// How many of those are writes that never returned and that nobody has seen. A run in which none are lost needs
    /// the same memory however long it is; one that loses them needs a few bytes more for each.
    pub fn in_doubt(&self) -> usize {
        self.keys.iter().map(|stream| stream.in_doubt.len()).sum()
    }

    /// The keys that are not judged any more, in the order of their first operations; see [`Stream::is_blind`].
    pub fn blind_keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter(|stream| stream.is_blind()).map(|stream| stream.key.as_str())
    }
}

const NONE: u32 = u32::MAX;

/// Judges one key.
#[derive(Debug)]
pub struct Stream {
    key: String,
    state: State,
    /// The value of each stage that may still be seen.
    stage_of: HashMap<Held, u32, BuildMix>,
    stages: Slab<Stage>,
    blocks: Slab<Block>,
    /// Blocks whose first return does not lie before L, in the order of their first returns.
    live: VecDeque<Live>,
    /// How many blocks were live once and are not any more.
    left_live: u64,
    /// Blocks behind L whose values may still be seen.
    retired: Vec<u32>,
    /// The two greatest last invocations among all retired blocks, and whose they are.
    farthest: [(Option<Time>, u32); 2],
    open: Slab<Open>,
    /// The open operation of each process.
    open_of: HashMap<ProcessId, u32, BuildMix>,
    /// The ends of the list of open operations, in the order of their invocations.
    oldest: u32,
    newest: u32,
    in_doubt: InDoubt,
    /// The chain of swaps that is being entered; empty between events.
    chain: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watching,
    Blind,
    Violated,
}

#[derive(Debug)]
struct Open {
    op: Op,
    invoked: Time,
    /// The stage that it writes; [`NONE`] if it writes none.
    stage: u32,
    before: u32,
    after: u32,
}

#[derive(Debug)]
struct Stage {
    held: Held,
    /// The value that its writer swapped from.
    from: Option<u64>,
    /// The block, once somebody returned from it.
    block: u32,
    /// The latest invocation seen to belong to it, its writer's to begin with.
    last_invocation: Time,
    next: u32,
    /// When a later stage of its block was first seen: nobody who began after that may see this one.
    closed: Option<Time>,
}

#[derive(Debug)]
struct Block {
    /// `None` for the value at the beginning, which stands before everything.
    first_return: Option<Time>,
    last_invocation: Option<Time>,
    /// The oldest stage that is remembered, and the newest.
    first: u32,
    last: u32,
    place: Place,
}

/// A live block as it is compared with others.
#[derive(Debug)]
struct Live {
    block: u32,
    first_return: Time,
    last_invocation: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many blocks became live before it.
    Live(u64),
    Retired,
}

impl Stream {
    /// A register that was never written.
    pub fn new(key: &str) -> Stream {
        let mut stream = Stream {
            key: key.to_owned(),
            state: State::Watching,
            stage_of: HashMap::default(),
            stages: Slab::default(),
            blocks: Slab::default(),
            live: VecDeque::new(),
            left_live: 0,
            retired: Vec::new(),
            farthest: [(None, NONE); 2],
            open: Slab::default(),
            open_of: HashMap::default(),
            oldest: NONE,
            newest: NONE,
            in_doubt: InDoubt::default(),
            chain: Vec::new(),
        };
        let stage = stream.stages.insert(Stage {
            held: None,
            from: None,
            block: NONE,
            last_invocation: 0,
            next: NONE,
            closed: None,
        });
        let block = stream.blocks.insert(Block {
            first_return: None,
            last_invocation: None,
            first: stage,
            last: stage,
            place: Place::Retired,
        });
        stream.stages[stage].block = block;
        stream.stage_of.insert(None, stage);
        stream.retired.push(block);
        stream
    }

    /// Whether the key is not judged any more, because a value was written twice or the object is no register.
    pub fn is_blind(&self) -> bool {
        self.state == State::Blind
    }

    /// Takes the next event of the key; events must come in the order of the history.
    pub fn on_event(&mut self, event: &Event) -> Option<Violation> {
        if self.state != State::Watching {
            return None;
        }
        match event {
            Event::Invoke { time, process, op, .. } => {
                self.invoke(*time, *process, op);
                None
            }
            Event::Complete { time, process, completion } => {
                let problem = self.complete(*time, *process, completion).err()?;
                self.state = State::Violated;
                Some(Violation { key: self.key.clone(), time: *time, process: *process, problem })
            }
            Event::Fault { .. } | Event::Death { .. } | Event::Phase { .. } => None,
        }
    }

    fn invoke(&mut self, time: Time, process: ProcessId, op: &Op) {
        // Nothing but the key takes memory of its own, and here it is known.
        let key = String::new();
        let (op, held, from) = match *op {
            Op::Write { value, .. } => (Op::Write { key, value }, Some(value), None),
            Op::Cas { from, to, .. } if from != to => (Op::Cas { key, from, to }, Some(to), Some(from)),
            Op::Read { .. } => (Op::Read { key }, None, None),
            _ => return self.go_blind(),
        };
        let mut stage = NONE;
        if let Some(value) = held {
            let fresh = Stage { held, from, block: NONE, last_invocation: time, next: NONE, closed: None };
            stage = self.stages.insert(fresh);
            if self.stage_of.insert(held, stage).is_some() || self.in_doubt.holds(value) {
                return self.go_blind();
            }
        }
        let open = Open { op, invoked: time, stage, before: self.newest, after: NONE };
        let id = self.open.insert(open);
        match self.newest {
            NONE => self.oldest = id,
            newest => self.open[newest].after = id,
        }
        self.newest = id;
        self.open_of.insert(process, id);
    }

    fn complete(&mut self, time: Time, process: ProcessId, completion: &Completion) -> Result<(), Problem> {
        let Some(id) = self.open_of.remove(&process) else { return Ok(()) };
        let Open { op, invoked, stage, .. } = self.take_open(id);
        match completion {
            // It may still be seen by those that are open now or later, and they hold L back themselves.
            Completion::Info { .. } => {
                if let Op::Write { value, .. } | Op::Cas { to: value, .. } = op {
                    self.in_doubt.wait(value, invoked);
                }
                self.settle_doubts(self.least_open(time));
                Ok(())
            }
            Completion::Fail { .. } => self.withdraw(stage),
            Completion::Ok(reply) => {
                if let (Op::Cas { from, .. }, Reply::NotSwapped { seen }) = (&op, reply)
                    && *seen == Some(*from)
                {
                    return Err(Problem::Refused(*seen));
                }
                if matches!(reply, Reply::NotSwapped { .. } | Reply::Mismatch) {
                    self.withdraw(stage)?;
                }
                match Register::register_view(&op, Some(reply)) {
                    RegisterView::Read(held) => self.observe(held, Some(invoked), time),
                    RegisterView::Write(value) | RegisterView::Swap { to: value, .. } => {
                        self.observe(Some(value), None, time)
                    }
                    // It refutes little, and leaving a pure operation out keeps every order.
                    RegisterView::Differs(_) => Ok(()),
                    RegisterView::Clear | RegisterView::Opaque => {
                        self.go_blind();
                        Ok(())
                    }
                }
            }
        }
    }

    /// An operation has returned that saw or wrote a value.
    fn observe(&mut self, held: Held, read_from: Option<Time>, now: Time) -> Result<(), Problem> {
        let Some(stage) = self.find(held) else { return Err(Problem::Unwritten(held)) };
        if self.stages[stage].block == NONE {
            self.enter(stage, now)?;
        }
        let seen = &mut self.stages[stage];
        if let Some(invoked) = read_from {
            if seen.closed.is_some_and(|closed| closed < invoked) {
                return Err(Problem::Stale(held));
            }
            seen.last_invocation = seen.last_invocation.max(invoked);
        }
        let (block, last_invocation) = (seen.block, seen.last_invocation);
        self.reach(block, last_invocation, held)?;
        let least_open = self.least_open(now);
        self.settle_doubts(least_open);
        self.retire(least_open);
        Ok(())
    }

    /// The stage of a value that may be seen.
    fn find(&mut self, held: Held) -> Option<u32> {
        if let Some(&stage) = self.stage_of.get(&held) {
            return Some(stage);
        }
        let from = self.in_doubt.take(held?)?;
        let stage = Stage { held, from, block: NONE, last_invocation: 0, next: NONE, closed: None };
        let stage = self.stages.insert(stage);
        self.stage_of.insert(held, stage);
        Some(stage)
    }

    fn least_open(&self, now: Time) -> Time {
        match self.oldest {
            NONE => now,
            oldest => self.open[oldest].invoked,
        }
    }

    /// Of what timed out and was not seen, forgets all that decides nothing any more.
    fn settle_doubts(&mut self, least_open: Time) {
        while let Some(value) = self.in_doubt.reached(least_open) {
            // It may have been seen by now, and even forgotten.
            if let Some(&stage) = self.stage_of.get(&Some(value))
                && self.stages[stage].block == NONE
            {
                self.stage_of.remove(&Some(value));
                let Stage { from, .. } = self.stages.remove(stage);
                self.in_doubt.keep(value, from);
            }
        }
    }

    /// The first return of a stage. What it was swapped from took place as well, right before it.
    fn enter(&mut self, stage: u32, now: Time) -> Result<(), Problem> {
        let mut chain = std::mem::take(&mut self.chain);
        chain.clear();
        chain.push(stage);
        let block = loop {
            let current = *chain.last().expect("a chain begins with the stage");
            let Some(from) = self.stages[current].from else {
                break self.begin_block(current, now);
            };
            let Some(source) = self.find(Some(from)) else {
                return Err(Problem::Unwritten(Some(from)));
            };
            // A circle of swaps would come by a stage of this chain, whose successor is set below.
            if self.stages[source].next != NONE || source == stage {
                return Err(Problem::LostUpdate(Some(from)));
            }
            self.stages[source].next = current;
            match self.stages[source].block {
                NONE => chain.push(source),
                block => {
                    self.stages[source].closed = Some(now);
                    break block;
                }
            }
        };
        for &member in chain.iter().rev() {
            let joining = &mut self.stages[member];
            joining.block = block;
            // All but the newest stage are over: a later one was seen.
            joining.closed = if member == stage { None } else { Some(now) };
            let (last_invocation, held) = (joining.last_invocation, joining.held);
            self.blocks[block].last = member;
            self.reach(block, last_invocation, held)?;
        }
        self.chain = chain;
        Ok(())
    }

    fn begin_block(&mut self, root: u32, now: Time) -> u32 {
        let place = Place::Live(self.left_live + self.live.len() as u64);
        let last_invocation = Some(self.stages[root].last_invocation);
        let block = self.blocks.insert(Block {
            first_return: Some(now),
            last_invocation,
            first: root,
            last: root,
            place,
        });
        // Whoever must come behind it began after now, so there is nothing yet that could also be before it.
        let last_invocation = self.stages[root].last_invocation;
        self.live.push_back(Live { block, first_return: now, last_invocation });
        block
    }

    /// An operation that was invoked then belongs to the block. If that moves the block's last invocation, the block
    /// is compared with the others; if not, all that it could contradict was compared with it when that changed.
    fn reach(&mut self, block: u32, invoked: Time, held: Held) -> Result<(), Problem> {
        let touched = &mut self.blocks[block];
        if touched.last_invocation >= Some(invoked) {
            return Ok(());
        }
        touched.last_invocation = Some(invoked);
        match touched.place {
            Place::Retired => self.note_farthest(block),
            Place::Live(number) => {
                let index = usize::try_from(number - self.left_live).expect("live blocks are in memory");
                self.live[index].last_invocation = invoked;
            }
        }
        self.compare(block, invoked, held)
    }

    /// Whether another block must come both before and after this one.
    fn compare(&self, block: u32, reach: Time, held: Held) -> Result<(), Problem> {
        let first_return = self.blocks[block].first_return;
        // `None`, the beginning, is before every time.
        let began_after = |last_invocation: Time| first_return.is_none_or(|first| first < last_invocation);
        let [(farthest, whose), (second, _)] = self.farthest;
        let other = if whose == block { second } else { farthest };
        if other.is_some_and(began_after) {
            return Err(Problem::Stale(held));
        }
        let before = self.live.iter().take_while(|other| other.first_return < reach);
        if before.into_iter().any(|other| began_after(other.last_invocation) && other.block != block) {
            return Err(Problem::Stale(held));
        }
        Ok(())
    }

    /// Moves the blocks behind `least_open` to the retired ones, and forgets those that nobody may see again.
    fn retire(&mut self, least_open: Time) {
        let mut changed = false;
        while let Some(Live { block, .. }) = self.live.pop_front_if(|live| live.first_return < least_open) {
            self.left_live += 1;
            self.blocks[block].place = Place::Retired;
            self.retired.push(block);
            self.note_farthest(block);
            changed = true;
        }
        if changed {
            let mut retired = std::mem::take(&mut self.retired);
            retired.retain(|&block| !self.forget(block, least_open));
            self.retired = retired;
        }
    }

    /// Forgets the stages of a retired block that nobody may see again; true if none is left.
    fn forget(&mut self, block: u32, least_open: Time) -> bool {
        let [(farthest, whose), (second, _)] = self.farthest;
        let other = if whose == block { second } else { farthest };
        let Block { first_return, mut first, last, .. } = self.blocks[block];
        let is_over = other.is_some_and(|other| first_return.is_none_or(|returned| returned < other));
        loop {
            let stage = &self.stages[first];
            let is_closed = stage.closed.is_some_and(|closed| closed < least_open);
            let is_forgotten = is_over || is_closed && first != last;
            if !is_forgotten {
                self.blocks[block].first = first;
                return false;
            }
            let Stage { held, next, .. } = self.stages.remove(first);
            self.stage_of.remove(&held);
            if first == last {
                break;
            }
            first = next;
        }
        self.blocks.remove(block);
        // Its reach still counts, but a block that gets its number must not be taken for it.
        for (_, whose) in &mut self.farthest {
            if *whose == block {
                *whose = NONE;
            }
        }
        true
    }

    fn note_farthest(&mut self, block: u32) {
        let reach = self.blocks[block].last_invocation;
        let [first, second] = &mut self.farthest;
        if first.1 == block {
            first.0 = first.0.max(reach);
        } else if reach > first.0 {
            *second = *first;
            *first = (reach, block);
        } else if reach > second.0 {
            *second = (reach, block);
        }
    }

    /// An operation had no effect after all.
    fn withdraw(&mut self, stage: u32) -> Result<(), Problem> {
        if stage == NONE {
            return Ok(());
        }
        let held = self.stages[stage].held;
        if self.stages[stage].block != NONE {
            return Err(Problem::Aborted(held));
        }
        self.stage_of.remove(&held);
        self.stages.remove(stage);
        Ok(())
    }

    fn take_open(&mut self, id: u32) -> Open {
        let open = self.open.remove(id);
        match open.before {
            NONE => self.oldest = open.after,
            before => self.open[before].after = open.after,
        }
        match open.after {
            NONE => self.newest = open.before,
            after => self.open[after].before = open.before,
        }
        open
    }

    /// Gives up the key and what is remembered of it.
    fn go_blind(&mut self) {
        let key = std::mem::take(&mut self.key);
        *self = Stream { state: State::Blind, ..Stream::new(&key) };
    }
}
