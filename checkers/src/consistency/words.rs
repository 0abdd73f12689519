//! Operations in words.

use crate::finding::seconds;
use crate::history::{History, Operation, Reply, elements};
use crate::model::show;

/// `p0's read of 1`.
pub(super) fn phrase(operation: &Operation) -> String {
    let process = operation.process.0;
    match operation.reply() {
        Some(Reply::Read { value }) => format!("p{process}'s read of {}", show(*value)),
        Some(Reply::ReadList { values }) => format!("p{process}'s read of {}", elements(values)),
        Some(Reply::Dequeue { value }) => format!("p{process}'s dequeue of {}", show(*value)),
        Some(Reply::NotSwapped { seen }) => {
            format!("p{process}'s refused {}, which saw {}", operation.op, show(*seen))
        }
        Some(Reply::Mismatch) => format!("p{process}'s refused {}", operation.op),
        _ => format!("p{process}'s {}", operation.op),
    }
}

/// `  p0's read of 1 through n2  0.900 s – 1.000 s  (lines 2, 3)`
pub(super) fn row(history: &History, operation: &Operation) -> String {
    let node = operation.node.map_or_else(String::new, |node| format!(" through {node}"));
    let invoke = history.locate(operation.invoke_event).line;
    let (end, lines) = match (operation.completed_at, operation.complete_event) {
        (Some(at), Some(event)) if operation.reply().is_some() => {
            (seconds(at), format!("lines {invoke}, {}", history.locate(event).line))
        }
        _ => ("never returned".to_owned(), format!("line {invoke}")),
    };
    format!("  {}{node}  {} – {end}  ({lines})", phrase(operation), seconds(operation.invoked_at))
}
