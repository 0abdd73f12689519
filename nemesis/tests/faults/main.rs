//! Each fault on real processes and on links in memory: it bites, it heals, and a fault that does nothing is noticed.

mod actor;
mod cluster;
mod links;
mod members;
mod processes;
mod schedule;
