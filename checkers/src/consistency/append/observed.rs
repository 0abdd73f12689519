//! What the reads show by themselves: in which order each list grew, and what no transaction may ever see.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::transactions::{Outcome, Transaction};
use crate::history::{MicroOp, Value};

/// What the reads show.
pub(super) struct Observed<'a> {
    /// Each list whose elements are unique and whose reads agree.
    pub(super) lists: BTreeMap<&'a str, List<'a>>,
    /// What is wrong without any cycle.
    pub(super) oddities: Vec<Oddity<'a>>,
    /// Elements that were appended to one list more than once, so that nothing can be told from it.
    pub(super) repeated: Vec<(&'a str, Value)>,
    /// For each transaction whether it took effect, as far as that is certain.
    pub(super) took_effect: Vec<bool>,
}

/// One list.
pub(super) struct List<'a> {
    /// The longest that was read; every other read is a prefix.
    pub(super) longest: &'a [Value],
    /// Who appended each element of it.
    pub(super) writers: Vec<usize>,
    /// Appends that took effect and that no read saw, so that they came after all that was read.
    pub(super) unseen: Vec<(usize, Value)>,
    /// For each transaction that read the list, the length that it found before it appended anything itself.
    pub(super) reads: Vec<(usize, usize)>,
}

/// Something that no order can explain.
pub(super) struct Oddity<'a> {
    pub(super) kind: OddityKind,
    /// Who saw it.
    pub(super) reader: usize,
    /// Who else is to blame.
    pub(super) other: Option<usize>,
    pub(super) key: &'a str,
    /// What it saw.
    pub(super) seen: &'a [Value],
    /// The element at fault, or where it differs.
    pub(super) value: Option<Value>,
    /// What it should have seen, or what the other saw.
    pub(super) expected: Vec<Value>,
}

/// The kinds of them, the plainest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OddityKind {
    /// A read saw an element that nobody appended.
    FromNowhere,
    /// A read saw an element twice.
    Duplicate,
    /// A read contradicts what its own transaction did before.
    Internal,
    /// G1a.
    AbortedRead,
    /// G1b.
    IntermediateRead,
    /// Two reads show different orders.
    IncompatibleOrder,
    /// A read shows the appends of one transaction in another order than it made them, or not all of them.
    Reordered,
}

/// Who appended an element.
#[derive(Clone, Copy)]
struct Writer {
    transaction: usize,
    /// Whether the transaction appended nothing more to the list after it.
    is_last: bool,
}

impl<'a> Observed<'a> {
    pub(super) fn of(transactions: &'a [Transaction<'_>]) -> Observed<'a> {
        let (writers, repeated) = writers(transactions);
        let ambiguous: HashSet<&str> = repeated.iter().map(|&(key, _)| key).collect();
        let mut observed = Observed {
            lists: BTreeMap::new(),
            oddities: Vec::new(),
            repeated,
            took_effect: transactions.iter().map(Transaction::has_committed).collect(),
        };
        let mut reads: BTreeMap<&str, Vec<Read<'_>>> = BTreeMap::new();
        for (index, transaction) in transactions.iter().enumerate() {
            if !transaction.has_committed() {
                continue;
            }
            for read in observed.own_reads(index, transaction) {
                if !ambiguous.contains(read.key) {
                    observed.judge_read(&read, &writers, transactions);
                    reads.entry(read.key).or_default().push(read);
                }
            }
        }
        for (key, reads) in reads {
            observed.add_list(key, &reads, &writers, transactions);
        }
        observed.add_unseen(transactions, &writers, &ambiguous);
        observed.oddities.sort_by_key(|oddity| (oddity.kind, oddity.reader));
        observed
    }

    /// The reads of one transaction that agree with what it did itself; the others are noted.
    fn own_reads(&mut self, index: usize, transaction: &'a Transaction<'_>) -> Vec<Read<'a>> {
        let mut reads = Vec::new();
        // For each list what was read first, if it was, and what was appended since.
        let mut known: HashMap<&str, (Option<&[Value]>, Vec<Value>)> = HashMap::new();
        for op in transaction.ops.iter() {
            let (read, own) = known.entry(op.key()).or_default();
            match op {
                MicroOp::Append { value, .. } => own.push(*value),
                MicroOp::Read { key, values } => {
                    let seen = values.as_deref().expect("the reads of a committed transaction have values");
                    let agrees = match read {
                        Some(read) => {
                            seen.len() == read.len() + own.len()
                                && seen.starts_with(read)
                                && seen.ends_with(own)
                        }
                        None => seen.ends_with(own),
                    };
                    if agrees {
                        if read.is_none() {
                            reads.push(Read { reader: index, key, seen, external: seen.len() - own.len() });
                        }
                        (*read, *own) = (Some(seen), Vec::new());
                    } else {
                        let expected = [read.unwrap_or(&[]), own.as_slice()].concat();
                        self.oddities.push(Oddity {
                            kind: OddityKind::Internal,
                            reader: index,
                            other: None,
                            key,
                            seen,
                            // Told apart in the text: the whole list, or only how it must end.
                            value: read.is_none().then(|| own[0]),
                            expected,
                        });
                    }
                }
            }
        }
        reads
    }

    fn judge_read(
        &mut self,
        read: &Read<'a>,
        writers: &HashMap<(&str, Value), Writer>,
        transactions: &[Transaction<'_>],
    ) {
        let &Read { reader, key, seen, external } = read;
        let mut odd = |kind, value, other| {
            let expected = Vec::new();
            self.oddities.push(Oddity { kind, reader, other, key, seen, value: Some(value), expected });
        };
        let mut once = HashSet::new();
        for &value in seen {
            if !once.insert(value) {
                odd(OddityKind::Duplicate, value, None);
            }
            match writers.get(&(key, value)) {
                None => odd(OddityKind::FromNowhere, value, None),
                Some(writer) => match transactions[writer.transaction].outcome {
                    Outcome::Aborted => odd(OddityKind::AbortedRead, value, Some(writer.transaction)),
                    Outcome::Committed | Outcome::Unknown => self.took_effect[writer.transaction] = true,
                },
            }
        }
        if let Some(&value) = seen[..external].last()
            && let Some(writer) = writers.get(&(key, value))
            && writer.transaction != reader
            && !writer.is_last
            && transactions[writer.transaction].outcome != Outcome::Aborted
        {
            odd(OddityKind::IntermediateRead, value, Some(writer.transaction));
        }
    }

    /// Finds the order of a list, unless its reads contradict each other.
    fn add_list(
        &mut self,
        key: &'a str,
        reads: &[Read<'a>],
        writers: &HashMap<(&str, Value), Writer>,
        transactions: &[Transaction<'_>],
    ) {
        // The first of the longest, so that the same history gives the same text.
        let longest = reads.iter().rev().max_by_key(|read| read.seen.len());
        let &Read { reader: longest_reader, seen: longest, .. } =
            longest.expect("a list is here because it was read");
        // An element that is there twice has no one place in the order.
        let mut agree = longest.iter().collect::<HashSet<_>>().len() == longest.len();
        for &Read { reader, seen, .. } in reads {
            if !longest.starts_with(seen) {
                agree = false;
                self.oddities.push(Oddity {
                    kind: OddityKind::IncompatibleOrder,
                    reader,
                    other: Some(longest_reader),
                    key,
                    seen,
                    value: seen.iter().zip(longest).find(|(a, b)| a != b).map(|(a, _)| *a),
                    expected: longest.to_vec(),
                });
            }
        }
        let who = |value: &Value| writers.get(&(key, *value)).map(|writer| writer.transaction);
        let writers: Option<Vec<usize>> = longest.iter().map(who).collect();
        if let (true, Some(writers)) = (agree, &writers) {
            let mut shown: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
            for (&value, &writer) in longest.iter().zip(writers) {
                shown.entry(writer).or_default().push(value);
            }
            for (writer, shown) in shown {
                let own = transactions[writer].appends().filter(|append| append.0 == key);
                let own: Vec<Value> = own.map(|(_, value)| value).collect();
                // Appends that are missing at the end are another matter: a read of half a transaction, or a
                // transaction's own read before it was done.
                if !own.starts_with(&shown) {
                    agree = false;
                    self.oddities.push(Oddity {
                        kind: OddityKind::Reordered,
                        reader: longest_reader,
                        other: Some(writer),
                        key,
                        seen: longest,
                        value: None,
                        expected: own,
                    });
                }
            }
        }
        if let (true, Some(writers)) = (agree, writers) {
            let reads = reads.iter().map(|read| (read.reader, read.external)).collect();
            self.lists.insert(key, List { longest, writers, unseen: Vec::new(), reads });
        }
    }

    /// Sound: the append took effect, since its transaction did, and a list only grows. The longest read does
    /// not show it, so it came after that.
    fn add_unseen(
        &mut self,
        transactions: &'a [Transaction<'_>],
        writers: &HashMap<(&str, Value), Writer>,
        ambiguous: &HashSet<&str>,
    ) {
        let seen: HashSet<(&str, Value)> = self
            .lists
            .iter()
            .flat_map(|(&key, list)| list.longest.iter().map(move |&value| (key, value)))
            .collect();
        for (index, transaction) in transactions.iter().enumerate().filter(|(i, _)| self.took_effect[*i]) {
            for (key, value) in transaction.appends().filter(|append| !seen.contains(append)) {
                debug_assert!(ambiguous.contains(key) || writers.contains_key(&(key, value)));
                if let Some(list) = self.lists.get_mut(key) {
                    list.unseen.push((index, value));
                }
            }
        }
    }
}

/// The first read of a list in a transaction.
struct Read<'a> {
    reader: usize,
    key: &'a str,
    seen: &'a [Value],
    /// How much of it others had appended.
    external: usize,
}

type Writers<'a> = HashMap<(&'a str, Value), Writer>;

/// Who appended what, and what was appended more than once.
fn writers<'a>(transactions: &'a [Transaction<'_>]) -> (Writers<'a>, Vec<(&'a str, Value)>) {
    let mut writers: Writers<'_> = HashMap::new();
    let mut repeated = Vec::new();
    for (index, transaction) in transactions.iter().enumerate() {
        let mut last: HashMap<&str, Value> = HashMap::new();
        for (key, value) in transaction.appends() {
            if let Some(before) = last.insert(key, value)
                && let Some(writer) = writers.get_mut(&(key, before))
            {
                writer.is_last = false;
            }
            let writer = Writer { transaction: index, is_last: true };
            if writers.insert((key, value), writer).is_some() {
                repeated.push((key, value));
            }
        }
    }
    (writers, repeated)
}
