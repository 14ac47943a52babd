//! What changes its meaning on the way, and how that is reported.

use std::fmt::Write as _;

/// What becomes of something that was configured, or that was so without being configured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// It cannot be said here; something else has to be done.
    Lost,
    /// It is open, as it was.
    Open,
    /// It means something else here.
    Differs,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    /// The row of `docs/migration.md` that it is about.
    pub(crate) row: &'static str,
    /// Where it is in the configuration that is written; empty: in no place of it.
    pub(crate) path: String,
    /// What changes, and what to do.
    pub(crate) text: String,
}

/// The rows that are about every configuration, and the direction: whether what passed can be refused, and the other way round.
const ALWAYS: &[(&str, &str)] = &[
    ("bearer", "\"bearer\" in any letters is the scheme; nothing may stand before it or behind the token"),
    ("several", "several tokens in one request are 400"),
    ("iat", "a token with iat in the future is refused"),
    ("expiry", "a token is expired on the second of exp and skew, not after it"),
    (
        "algorithms",
        "alg must be one that the key is for, and on the provider's list: all but HS* unless named",
    ),
    ("keys", "a key's use, key_ops and alg, and the least length of RSA keys and secrets, are held to"),
    ("kinds", "a token whose typ names another kind (logout+jwt), or with a critical extension, is refused"),
    ("kid", "a key id that the set has names its key; keys without one are not tried then"),
    ("cache", "verdicts of tokens are kept until they expire; they follow the keys"),
    (
        "path",
        "a path that can be read in two ways (//, %2F, ;, dot segments) is 400; ambiguous_paths: match_raw for the old way",
    ),
    (
        "answer",
        "another audience is 401 instead of 403, and keys that cannot be fetched are 503 instead of 401; answers are problem documents",
    ),
];

/// The rows by which a request may pass that did not pass before.
const LOOSER: &[&str] =
    &["bearer", "twice", "preflight", "query_token", "query", "single_for_list", "scope_claim"];

/// All changes of one configuration.
#[derive(Clone, Default, Debug)]
pub(crate) struct Changes(Vec<Change>);

impl Changes {
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        row: &'static str,
        path: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.0.push(Change { kind, row, path: path.into(), text: text.into() });
    }

    /// Takes back what was said of a place.
    pub(crate) fn take_back(&mut self, path: &str) {
        self.0.retain(|change| change.path != path);
    }

    pub(crate) fn append(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(crate) fn list(&self) -> &[Change] {
        &self.0
    }

    /// The row that is reported, if one is, about a request that passes on one side alone.
    pub(crate) fn row(&self, rows: &[&'static str], passed_before: bool) -> Option<&'static str> {
        let mut rows = rows.iter().copied();
        rows.find(|row| {
            let is_reported = ALWAYS.iter().any(|(name, _)| name == row)
                || self.0.iter().any(|change| change.kind != Kind::Open && change.row == *row);
            is_reported && (passed_before || LOOSER.contains(row))
        })
    }

    /// The report: what cannot be carried over first.
    pub(crate) fn report(&self) -> String {
        let mut out = String::new();
        let titles = [
            (Kind::Lost, "Cannot be carried over, and what to do:"),
            (Kind::Open, "Stays as open as it was:"),
            (Kind::Differs, "Means something else here:"),
        ];
        for (kind, title) in titles {
            let changes: Vec<&Change> = self.0.iter().filter(|change| change.kind == kind).collect();
            if !changes.is_empty() {
                let _ = writeln!(out, "{title}");
            }
            for Change { path, text, row, .. } in changes {
                let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
                let _ = writeln!(out, "  {place}{text} [{row}]");
            }
        }
        let _ = writeln!(out, "Differs in every configuration:");
        for (row, text) in ALWAYS {
            let _ = writeln!(out, "  {text} [{row}]");
        }
        out.push_str("docs/migration.md has more on most of the names in brackets.\n");
        out
    }
}
