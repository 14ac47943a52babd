//! Colours, where somebody is looking.

use std::env;
use std::io::{IsTerminal, stdout};

/// Whether to write in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// In colour on a terminal, unless `NO_COLOR` is set.
    pub fn detect() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { on: wanted && stdout().is_terminal() }
    }

    /// No colours.
    pub fn plain() -> Self {
        Self { on: false }
    }

    /// In green
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// In red
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// Bold
    pub fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Dim
    pub fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
