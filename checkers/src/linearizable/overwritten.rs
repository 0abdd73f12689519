//! What can be refuted where values repeat, in O(n log n): a value that was overwritten for certain.
//!
//! ```text
//! |- whoever can have written v -|   |- u writes -|   |- r needs v -|
//! ```
//!
//! If every operation that writes v and was invoked by the time r returned had itself returned before a plain write u
//! was invoked, and u had returned before r was invoked, then no order explains r: all that r could have seen comes
//! before u, and u before r. So does a value that nobody can have written by then.
//!
//! This is much less than linearizability. It decides the violation that is most frequent, where a search would have
//! to look through all that was possible before it.

use std::collections::HashMap;

use super::call::Call;
use super::hash::BuildMix;
use crate::model::{Held, Model, RegisterView};

/// Before every invocation: when the value at the beginning was written.
const BEGINNING: u64 = 0;
/// The return of what never returned.
const NEVER: u64 = u64::MAX;

/// Times are shifted by one, so that the beginning comes before all of them.
fn at(time: u64) -> u64 {
    time.saturating_add(1).min(NEVER - 1)
}

/// The positions of u and r, or of r alone; of several the r that returned first. `None` if there are none, or if
/// some call is none of a register's.
///
/// The core suffices: in an order of all calls take the part from u on. It holds r, and nobody in it who writes v.
pub(super) fn overwritten<M: Model>(held: Held, calls: &[Call<M>]) -> Option<Vec<usize>> {
    let mut writes = Vec::new();
    let mut writers: HashMap<Held, Vec<Writer>, BuildMix> = HashMap::default();
    writers.insert(held, vec![Writer { invoked: BEGINNING, returned: BEGINNING }]);
    let mut needs = Vec::new();
    for (position, call) in calls.iter().enumerate() {
        if call.returned.is_none() && M::is_pure(&call.op, None) {
            continue;
        }
        let view = M::register_view(&call.op, call.ret.as_ref());
        let (invoked, returned) = (at(call.invoked), call.returned.map_or(NEVER, at));
        let written = match view {
            RegisterView::Opaque => return None,
            RegisterView::Clear => Some(None),
            RegisterView::Write(_) | RegisterView::Swap { .. } => view.writes().map(Some),
            RegisterView::Read(_) | RegisterView::Differs(_) => None,
        };
        if let Some(value) = written {
            writers.entry(value).or_default().push(Writer { invoked, returned });
        }
        if returned == NEVER {
            continue;
        }
        if let RegisterView::Write(_) = view {
            writes.push(Write { invoked, returned, position });
        }
        if let Some(value) = view.needs() {
            needs.push((returned, invoked, value, position));
        }
    }
    for of_value in writers.values_mut() {
        of_value.sort_unstable_by_key(|writer| writer.invoked);
        let mut latest = BEGINNING;
        for writer in of_value {
            latest = latest.max(writer.returned);
            writer.returned = latest;
        }
    }
    writes.sort_unstable_by_key(|write| write.invoked);
    for index in (1..writes.len()).rev() {
        if writes[index].returned < writes[index - 1].returned {
            let Write { returned, position, .. } = writes[index];
            writes[index - 1] = Write { returned, position, ..writes[index - 1] };
        }
    }
    let refuted = |&(returned, invoked, value, position): &(u64, u64, Held, usize)| {
        let of_value = writers.get(&value).map_or(&[][..], Vec::as_slice);
        let in_time = of_value.partition_point(|writer| writer.invoked <= returned);
        let Some(last) = in_time.checked_sub(1) else { return Some(vec![position]) };
        let behind_all = writes.partition_point(|write| write.invoked <= of_value[last].returned);
        let by = writes.get(behind_all)?;
        (by.returned < invoked).then(|| vec![by.position, position])
    };
    needs.sort_unstable();
    needs.iter().find_map(refuted)
}

/// Sorted by invocation; the return is then the latest of those up to here.
struct Writer {
    invoked: u64,
    returned: u64,
}

/// Sorted by invocation; the return and whose it is are then the first of those from here on.
#[derive(Clone, Copy)]
struct Write {
    invoked: u64,
    returned: u64,
    position: usize,
}
