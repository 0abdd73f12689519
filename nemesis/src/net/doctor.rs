//! What this machine can do, and why not.
