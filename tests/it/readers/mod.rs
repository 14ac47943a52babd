//! The machine that looks for the next ambiguity: a request that the filter lets through under one rule, and that some
//! program behind it would take for a request of another.
//!
//! [`model`] has an independent account of how proxies, servers and libraries read a request, and a grammar of odd
//! requests and rules; whatever passes must be, for each reader, a request of the rule under which it passed. The
//! sabotage table shows that the machine would notice: a judge that misses one reading is caught.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `PORTCULLIS_READERS_SETS` | 120 | how many rule sets are tried |
//! | `PORTCULLIS_READERS_REQUESTS` | 400 | how many requests are tried under each |
//! | `PORTCULLIS_READERS_SEED` | 1 | where the choices begin; a failing case names its own |
//! | `PORTCULLIS_READERS_REAL` | 2000 | how many requests real servers get, all together |

mod everyday;
mod hosts;
mod model;
mod php;
mod property;
mod servers;
