//! What is wrong with a configuration, and where.

use std::cell::RefCell;
use std::fmt;

/// One error: its path in the configuration (`rules[3].authorize.scopes`) and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The path of the field; empty for the configuration as a whole.
    pub path: String,
    /// What is wrong and what to do. Holds no value that could be a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "configuration" } else { &self.path };
        write!(f, "{path}: {}", self.message)
    }
}

/// Reads the file of a name, or says why it cannot be read and what to do.
pub type ReadFile = fn(&str) -> Result<Vec<u8>, String>;

/// What a host can do that the wasm plugin cannot. A configuration that asks for it is refused elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFeatures {
    /// Reads a file; none where there are none.
    pub read_file: Option<ReadFile>,
    /// Whether it writes no header without a value.
    pub skips_empty_headers: bool,
    /// Whether it writes dynamic metadata.
    pub writes_metadata: WritesMetadata,
}

impl HostFeatures {
    /// What the operator calls it: only the plugin never writes metadata.
    pub(super) fn name(self) -> &'static str {
        match self.writes_metadata {
            WritesMetadata::Never => "a wasm filter",
            WritesMetadata::NotInThisProxy | WritesMetadata::Yes => "the dynamic module",
        }
    }
}

/// Whether a host writes dynamic metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WritesMetadata {
    /// It never does.
    #[default]
    Never,
    /// It would in a newer proxy.
    NotInThisProxy,
    /// It does.
    Yes,
}

/// Collects problems while a configuration is read, so that all are reported together.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What the host can do for which the configuration is read.
    pub(super) host: HostFeatures,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    pub(super) fn new(host: HostFeatures) -> Self {
        Self { host, ..Self::default() }
    }

    pub(super) fn error(&self, path: &str, message: impl Into<String>) {
        let problem = Problem { path: path.to_owned(), message: message.into() };
        self.errors.borrow_mut().push(problem);
    }

    pub(super) fn warning(&self, path: &str, message: impl Into<String>) {
        let problem = Problem { path: path.to_owned(), message: message.into() };
        self.warnings.borrow_mut().push(problem);
    }

    /// Whether an error was reported already.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// The errors and the warnings.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.errors.into_inner(), self.warnings.into_inner())
    }
}
