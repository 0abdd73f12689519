//! Situations around elections: those without a winner, those that should not have been, and votes that had to last.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::environment::Harm;
use super::moment::Moment;
use super::{Seen, Situation, Watch};
use crate::finding::EventRef;
use crate::history::{NodeId, Time};
use crate::trace::{Aside, PreVoteAnswer, Role, Term, TraceEvent};

/// Random timeouts make it rare and short; they do not rule it out.
pub(super) const SPLIT_VOTE: Situation = Situation {
    name: "split-vote",
    about: "two nodes asked for votes in one term, and nobody won it",
    source: "Raft paper, section 5.2 and 5.4",
    steps: &[
        "a node asked for votes",
        "two nodes asked for votes in one term",
        "such a term stayed without a leader",
    ],
    watch: || Box::new(Campaigns { terms: BTreeMap::new(), candidates_min: 2 }),
};

/// A term is spent for nothing: the candidate was cut off, or its log was behind.
pub(super) const LEADERLESS_TERM: Situation = Situation {
    name: "leaderless-term",
    about: "a term had a candidate and no leader",
    source: "Raft paper, section 5.2: in some situations an election will result in no leader",
    steps: &["a node asked for votes", "such a term stayed without a leader"],
    watch: || Box::new(Campaigns { terms: BTreeMap::new(), candidates_min: 1 }),
};

struct Campaigns {
    terms: BTreeMap<Term, Campaign>,
    candidates_min: usize,
}

#[derive(Default)]
struct Campaign {
    candidates: Vec<(Time, NodeId, EventRef)>,
    won: bool,
}

impl Watch for Campaigns {
    fn after(&mut self, now: &Moment<'_>, _cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, &TraceEvent::Role { role, term })) = now.traced() else { return };
        let campaign = self.terms.entry(term).or_default();
        match role {
            Role::Leader => campaign.won = true,
            // One node may campaign twice in a term, over a restart; it is still one candidate.
            Role::Candidate if campaign.candidates.iter().all(|(_, known, _)| *known != id) => {
                campaign.candidates.push((now.time, id, now.locate()));
                let step = campaign.candidates.len() - 1;
                if step < self.candidates_min {
                    seen.step(step);
                }
            }
            Role::Candidate | Role::PreCandidate | Role::Follower => {}
        }
    }

    fn end(&mut self, _cluster: &Cluster<'_>, seen: &mut Seen) {
        for (term, Campaign { candidates, won }) in std::mem::take(&mut self.terms) {
            if won || candidates.len() < self.candidates_min {
                continue;
            }
            let complete = candidates[self.candidates_min - 1].0;
            seen.reached(complete, || {
                let names: Vec<String> = candidates.iter().map(|(_, id, _)| id.to_string()).collect();
                let text = format!("nobody led term {term}, which {} wanted", names.join(" and "));
                (text, candidates.into_iter().map(|(_, _, event)| event).collect())
            });
        }
    }
}

/// What PreVote is for: a node that campaigned in its isolation deposes a leader that did no wrong.
pub(super) const TERM_JUMP: Situation = Situation {
    name: "term-jump",
    about: "a node that came back raised the term of a working leader or its follower by more than one",
    source: "Raft thesis, section 9.6",
    steps: &[
        "a node under a working leader entered a newer term",
        "that term was further than the next one",
        "another node had come to that term before",
    ],
    watch: || Box::new(TermJump),
};

struct TermJump;

impl Watch for TermJump {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, &TraceEvent::Term { term })) = now.traced() else { return };
        let (Some(node), Some((leader, leading))) = (cluster.node(id), cluster.leader()) else { return };
        if node.term != leading.term || term <= node.term {
            return;
        }
        seen.step(0);
        if term == node.term + 1 {
            return;
        }
        seen.step(1);
        let raised = cluster.nodes().find(|(other, node)| *other != id && node.term == term);
        if let Some((by, raiser)) = raised {
            seen.reached(now.time, || {
                let text = format!("{id} went from term {}, led by {leader}, to {term} of {by}", node.term);
                let events = [leading.role_event(), raiser.role_event(), vec![now.locate()]];
                (text, events.concat())
            });
        }
    }
}

/// PreVote at work: the one that comes back is told that there is nothing to win.
pub(super) const PRE_VOTE_REFUSED: Situation = Situation {
    name: "pre-vote-refused",
    about: "a node asked whether it could win, and was refused because a leader was alive",
    source: "Raft thesis, section 9.6 and 4.2.3",
    steps: &[
        "a node answered a PreVote",
        "it refused on behalf of a leader that it hears",
        "that leader was alive and led the newest term",
    ],
    watch: || Box::new(PreVoteRefused),
};

struct PreVoteRefused;

impl Watch for PreVoteRefused {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        let Some((id, &TraceEvent::Aside(Aside::PreVoteAnswer { term, candidate, answer }))) = now.traced()
        else {
            return;
        };
        seen.step(0);
        if answer != PreVoteAnswer::LeaderAlive {
            return;
        }
        seen.step(1);
        if let Some((leader, leading)) = cluster.leader() {
            seen.reached(now.time, || {
                let text = format!("{id} kept {candidate} from term {term} on behalf of {leader}");
                (text, leading.role_event().into_iter().chain([now.locate()]).collect())
            });
        }
    }
}

/// Those that could be elected reach no majority, and the one that reaches it lacks entries. Lawfully nobody leads.
pub(super) const CONSTRAINED_ELECTION: Situation = Situation {
    name: "constrained-election",
    about: "while links were cut and nobody led, a node was refused because its log was behind",
    source: "OmniPaxos, EuroSys 2023, section 2.2: constrained elections; Raft paper, section 5.4.1",
    steps: &[
        "links were cut",
        "a node answered a PreVote meanwhile, with nobody leading",
        "it refused, for the log of the asker was behind",
    ],
    watch: || Box::new(ConstrainedElection),
};

struct ConstrainedElection;

impl Watch for ConstrainedElection {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        if Cluster::newly_in_force(now, Harm::Cut) {
            seen.step(0);
        }
        let Some((id, &TraceEvent::Aside(Aside::PreVoteAnswer { candidate, answer, .. }))) = now.traced()
        else {
            return;
        };
        let Some(cut) = cluster.faults(Harm::Cut).next().filter(|_| cluster.leader().is_none()) else {
            return;
        };
        seen.step(1);
        if answer == PreVoteAnswer::LogBehind {
            seen.reached(now.time, || {
                let text = format!("{id} refused {candidate} for its log under {}", cut.fault);
                (text, vec![cut.at.clone(), now.locate()])
            });
        }
    }
}

/// A half-finished election: votes are on disks for a candidate that is no more.
pub(super) const CANDIDATE_KILLED: Situation = Situation {
    name: "candidate-killed",
    about: "a node died while it was asking for votes",
    source: "Raft paper, section 5.2 and 5.5",
    steps: &["a node died", "it was asking for votes"],
    watch: || Box::new(CandidateKilled),
};

struct CandidateKilled;

impl Watch for CandidateKilled {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        for id in cluster.ended_by(now) {
            seen.step(0);
            let node = cluster.node(id).expect("it was alive");
            if matches!(node.role, Some(Role::Candidate | Role::PreCandidate)) {
                seen.reached(now.time, || {
                    let events = node.role_event().into_iter().chain([now.locate()]).collect();
                    (format!("{id} died while it campaigned in term {}", node.term), events)
                });
            }
        }
    }
}

/// The vote must outlive the restart, or the node could vote twice in one term.
pub(super) const RESTART_AFTER_VOTE: Situation = Situation {
    name: "restart-after-vote",
    about: "a node voted and restarted in the same term before anybody had won it",
    source: "Raft paper, Figure 2: votedFor is persistent",
    steps: &["a node voted", "a node restarted in the term of its vote", "nobody had won that term by then"],
    watch: || Box::<RestartAfterVote>::default(),
};

#[derive(Default)]
struct RestartAfterVote {
    votes: BTreeMap<NodeId, (Term, EventRef)>,
}

impl Watch for RestartAfterVote {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        match now.traced() {
            Some((id, &TraceEvent::Vote { term, .. })) => {
                seen.step(0);
                self.votes.insert(id, (term, now.locate()));
            }
            Some((id, &TraceEvent::Boot { term: found, .. })) => {
                // What was found on disk does not matter: that is for the checkers of votes and terms.
                let Some((term, voted_at)) = self.votes.remove(&id) else { return };
                if found > term {
                    return;
                }
                seen.step(1);
                if cluster.newest_leader().is_none_or(|(newest, _)| newest < term) {
                    let text = format!("{id} voted in term {term} and restarted in it");
                    seen.reached(now.time, || (text, vec![voted_at, now.locate()]));
                }
            }
            _ => {}
        }
    }
}

/// A clock that runs fast makes its node impatient.
pub(super) const CAMPAIGN_UNDER_BENT_CLOCK: Situation = Situation {
    name: "campaign-under-bent-clock",
    about: "a node campaigned while its clock was bent",
    source: "Raft paper, section 5.6: timing and availability",
    steps: &["a clock was bent", "that node campaigned meanwhile"],
    watch: || Box::new(BentClock),
};

struct BentClock;

impl Watch for BentClock {
    fn before(&mut self, now: &Moment<'_>, cluster: &Cluster<'_>, seen: &mut Seen) {
        if Cluster::newly_in_force(now, Harm::Clock) {
            seen.step(0);
        }
        let Some((id, &TraceEvent::Role { role: Role::Candidate | Role::PreCandidate, term })) = now.traced()
        else {
            return;
        };
        if let Some(bent) = cluster.fault_on(Harm::Clock, id) {
            seen.reached(now.time, || {
                let text = format!("{id} campaigned in term {term} under {}", bent.fault);
                (text, vec![bent.at.clone(), now.locate()])
            });
        }
    }
}
