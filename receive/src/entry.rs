//! What is kept of an event: a line of the list that gates poll, in the form of `docs/revocation.md`.

use portcullis::{RevocationDraft, RevocationKey as Key, RevocationKind as Kind};
use serde_json::{Map, Value, json};

/// The longest name or issuer that is kept, in bytes.
pub const MAX_NAME: usize = 2048;

/// Whom an entry or a cut-off is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Token(String),
    Session(String),
    Subject(String),
    Client(String),
    Issuer,
    Everyone,
}

impl Name {
    fn parts(&self) -> (Kind, Option<&'static str>, &str) {
        match self {
            Self::Token(name) => (Kind::Token, Some("jti"), name),
            Self::Session(name) => (Kind::Session, Some("sid"), name),
            Self::Subject(name) => (Kind::Subject, Some("sub"), name),
            Self::Client(name) => (Kind::Client, Some("client_id"), name),
            Self::Issuer => (Kind::Issuer, None, ""),
            Self::Everyone => (Kind::Everyone, None, ""),
        }
    }
}

/// An entry or a cut-off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) issuer: String,
    pub(crate) name: Name,
    /// Tokens that were issued before are revoked; none: it is an entry, and all are.
    pub(crate) issued_before: Option<u64>,
    /// The end that gates are given, in Unix seconds.
    pub(crate) until: Option<u64>,
    /// From when on it is no longer served.
    pub(crate) drop_at: Option<u64>,
}

impl Entry {
    /// Under what it is kept: another one about the same tokens has the same.
    pub(crate) fn id(&self) -> [u8; 13] {
        let mut id = [u8::from(self.issued_before.is_some()); 13];
        id[1..].copy_from_slice(&self.key().0);
        id
    }

    fn key(&self) -> Key {
        let (kind, _, name) = self.name.parts();
        Key::new(kind, &self.issuer, name)
    }

    /// What is kept: its moments, and the text of its names.
    pub(crate) fn to_record(&self) -> Record {
        let mut names = Map::new();
        if self.name == Name::Everyone {
            names.insert("everyone".to_owned(), json!(true));
        } else {
            names.insert("issuer".to_owned(), json!(self.issuer));
        }
        if let (_, Some(member), name) = self.name.parts() {
            names.insert(member.to_owned(), json!(name));
        }
        let moment = |moment: Option<u64>| moment.unwrap_or(u64::MAX);
        Record {
            issued_before: self.issued_before.unwrap_or(0),
            until: moment(self.until),
            drop_at: moment(self.drop_at),
            names: Value::Object(names).to_string(),
        }
    }
}

/// An entry as the database has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    issued_before: u64,
    until: u64,
    pub(crate) drop_at: u64,
    names: String,
}

impl Record {
    /// Of two about the same tokens the later moments count.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.issued_before = self.issued_before.max(other.issued_before);
        self.until = self.until.max(other.until);
        self.drop_at = self.drop_at.max(other.drop_at);
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let moments = [self.issued_before, self.until, self.drop_at].map(u64::to_be_bytes);
        [moments.as_flattened(), self.names.as_bytes()].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (moments, names) = bytes.split_first_chunk::<24>()?;
        let (moments, _) = moments.as_chunks::<8>();
        let [issued_before, until, drop_at] = moments else { return None };
        Some(Self {
            issued_before: u64::from_be_bytes(*issued_before),
            until: u64::from_be_bytes(*until),
            drop_at: u64::from_be_bytes(*drop_at),
            names: String::from_utf8(names.to_vec()).ok()?,
        })
    }

    /// The line of the list.
    pub(crate) fn write_json(&self, is_cutoff: bool, out: &mut String) {
        out.push_str(self.names.strip_suffix('}').unwrap_or_default());
        if is_cutoff {
            out.push_str(&format!(",\"issued_before\":{}", self.issued_before));
        }
        if self.until != u64::MAX {
            out.push_str(&format!(",\"until\":{}", self.until));
        }
        out.push('}');
    }

    /// Adds it to a list in the making.
    pub(crate) fn add_to(&self, draft: &mut RevocationDraft, is_cutoff: bool, key: [u8; 12]) {
        let until = (self.until != u64::MAX).then_some(self.until);
        match is_cutoff {
            true => draft.cutoff(Key(key), self.issued_before, until),
            false => draft.entry(Key(key), until),
        }
    }
}
