//! Transactions over append-only lists, judged in the manner of Elle (Kingsbury and Alvaro, VLDB 2020).
//!
//! A list that was read shows the order in which it was appended to, so the history itself tells which
//! transaction depends on which. The names of the anomalies are Adya's: what was read of an aborted (G1a) or
//! half-done (G1b) transaction, and cycles of write-write (G0), write-read (G1c), one read-write (G-single) and
//! more read-write dependencies (G2). A suffix says that the cycle needs the order of a process or of real
//! time, too: then the transactions are serializable, but not in an order that clients could have seen.
//!
//! A history of single appends and reads is judged as one of transactions of one step each.
//!
//! Elements must be unique for each list. Without cycles, an order is built and replayed, so a valid verdict is
//! as strong as the search of [`crate::linearizable`] would make it.

mod cycles;
mod dependencies;
mod explain;
mod observed;
mod transactions;

use crate::evidence::{Consistency, Evidence};
use crate::finding::{ANOMALIES_MAX, Budget, Checker, Finding, Verdict, count};
use crate::history::Op;

use dependencies::Orders;
use explain::Explainer;
use observed::Observed;
use transactions::{has_lists, transactions};

/// The checker of transactions over lists.
pub struct Append;

impl Checker for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn about(&self) -> &'static str {
        "transactions over append-only lists happen one at a time, in real-time order; likewise single appends and reads"
    }

    fn applies(&self, evidence: &Evidence) -> bool {
        let history = &evidence.history;
        history.operations().iter().any(|operation| matches!(operation.op, Op::Txn { .. }))
            || has_lists(history)
    }

    fn check(&self, evidence: &Evidence, budget: Budget) -> Finding {
        let transactions = transactions(&evidence.history);
        let committed = transactions.iter().filter(|txn| txn.has_committed()).count();
        if committed == 0 {
            return Finding::new(self, Verdict::Unknown, "no transaction succeeded, so nothing was shown");
        }
        let orders = match evidence.expectations.consistency {
            Consistency::Linearizable => Orders::RealTime,
            // A read that may be stale is no part of the real-time order.
            Consistency::Sequential | Consistency::StaleWithinMs(_) => Orders::Process,
        };
        let observed = Observed::of(&transactions);
        let graph = dependencies::graph(&transactions, &observed, orders);
        let cycles = cycles::find(&graph, budget.configurations);

        let explainer = Explainer { history: &evidence.history, transactions: &transactions };
        let found = observed.oddities.len() + cycles.len();
        let direct = observed.oddities.iter().take(ANOMALIES_MAX).map(|oddity| explainer.oddity(oddity));
        let cyclic = cycles.iter().take(ANOMALIES_MAX).map(|cycle| explainer.cycle(cycle));
        let anomalies: Vec<_> = direct.chain(cyclic).collect();

        let finding = if let (true, Some((key, value))) = (anomalies.is_empty(), observed.repeated.first()) {
            let summary = format!(
                "{value} was appended to {key} more than once; elements must be unique for a list's order to show"
            );
            Finding::new(self, Verdict::Unknown, summary)
        } else {
            if anomalies.is_empty() {
                let order = graph.order().expect("a graph without cycles has an order");
                transactions::replay(&transactions, &order);
            }
            let valid = format!("an order explains all {}", count(committed, "transaction"));
            Finding::from_anomalies(self, anomalies, found, valid)
        };
        finding
            .with_checked("transactions", committed)
            .with_checked("lists", observed.lists.len())
            .with_checked("dependencies", graph.edge_count())
    }
}
