//! Revoked tokens, with a clock and a network that the test holds in its hands: which tokens are refused, how
//! soon, on which workers, and what happens while a source cannot be had.

mod documents;
mod fleet;
mod lasting;
mod one_process;
mod pages;
mod polled;
mod status_cases;
mod status_lists;
mod streams;
