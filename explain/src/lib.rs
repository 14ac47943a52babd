//! What the gate would do with a request, step by step: for the command-line tool and for the page in the browser.
//!
//! A [`Bench`] holds the filter's own gate for a configuration. A [`RequestSketch`] put to it becomes an [`Explanation`].
//! Nothing here decides: what is told of a step, the step told itself, and what travels is what the filter would do. No
//! I/O is done; what the gate would fetch is given beforehand or is not there.

mod bench;
mod clock;
mod explanation;
mod forge;
mod redact;
mod request;
mod text;

pub use bench::{Bench, KeysGiven};
pub use clock::{date, parse_time};
pub use explanation::{CheckReport, Explanation, Fields, LocalAnswer, StepReport, Upstream};
pub use forge::{Forge, ForgeError, TokenSketch};
pub use redact::without_tokens;
pub use request::{RequestSketch, RouteSketch};
pub use text::{Tone, as_text};

/// The version of the core that decides here: that of the filter.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
