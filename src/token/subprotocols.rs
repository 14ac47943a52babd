//! Tokens among the subprotocols of a WebSocket (RFC 6455 section 11.3.4): the one field of its handshake that a page can
//! fill. `new WebSocket(url, ["bearer", token])` sends `bearer, …`.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::credential::{Credential, CredentialSource, Found};
use super::header_location::is_token_byte;
use crate::request::{Request, could_be_blank};

/// The field.
pub const SUBPROTOCOLS: &str = "sec-websocket-protocol";

/// What tells the entries with a token from the others: one of these markers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subprotocols {
    markers: Vec<Marker>,
}

/// What tells an entry with a token from the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marker {
    text: String,
    /// Whether it may also be the beginning of the token's own entry.
    begins: bool,
}

impl Subprotocols {
    /// What a client writes that offers a token and nothing else.
    pub fn offering(&self, token: &str) -> String {
        match self.markers.iter().find(|marker| !marker.is_empty()) {
            Some(marker) => [&marker.text, ", ", token].concat(),
            None => token.to_owned(),
        }
    }
}

impl Marker {
    /// A marker in the operator's words, blanks around it apart. The entry behind one that is the marker, to the letter, is
    /// the token. A marker that ends with neither a letter, a digit nor a comma can be the beginning of the token's own
    /// entry too. An empty one makes a token of every entry.
    /// None where it could not be an entry of the list (RFC 6455 section 4.1).
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim_matches(' ');
        let alone = text.strip_suffix(',');
        let text = alone.unwrap_or(text).trim_end_matches(' ');
        if !text.bytes().all(is_token_byte) || (text.is_empty() && alone.is_some()) {
            return None;
        }
        let begins = alone.is_none() && text.bytes().last().is_some_and(|byte| !byte.is_ascii_alphanumeric());
        Some(Self { text: text.to_owned(), begins })
    }

    /// Whether every entry is a token.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The token in an entry.
    fn token<'a>(&self, entry: Entry<'a>) -> Option<&'a [u8]> {
        if self.is_empty() || entry.before == Some(self.text.as_bytes()) {
            return Some(entry.text);
        }
        let rest = entry.text.strip_prefix(self.text.as_bytes()).filter(|_| self.begins)?;
        (!rest.is_empty()).then_some(rest)
    }

    /// Whether some reader could find a token in an entry by this marker: one that ignores case and quotes, and splits at
    /// blanks too.
    fn is_met_leniently(&self, entry: Entry<'_>) -> bool {
        let marker = self.text.as_bytes();
        let begins = |word: &[u8]| {
            let head = word.get(..marker.len()).filter(|_| self.begins && word.len() > marker.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(marker))
        };
        let mut before = entry.before.and_then(|before| words(before).next_back());
        self.token(entry).is_some()
            || words(entry.text).any(|word| {
                let last = before.replace(word);
                last.is_some_and(|last| last.eq_ignore_ascii_case(marker)) || begins(word)
            })
    }
}

/// Whether a text has the form of a token, wherever it stands: two more parts behind one that is a JSON object. Where an
/// entry is taken out, the one behind it comes to stand behind the marker.
fn is_like_token(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'.');
    let header = parts.next().unwrap_or_default();
    // An object begins with a brace, which the first letter and a half say; before it there may be blanks.
    let is_object = || match header {
        [b'e', b'w'..=b'z' | b'0'..=b'9' | b'-' | b'_', ..] => true,
        _ => {
            BASE64_URL_SAFE_NO_PAD.decode(header).is_ok_and(|json| json.trim_ascii_start().starts_with(b"{"))
        }
    };
    parts.nth(1).is_some() && is_object()
}

/// The words of an entry: what stands between all that some reader takes for a blank or a quote.
fn words(entry: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let words = entry.split(|byte| could_be_blank(*byte) || *byte == b'"');
    words.filter(|word| !word.is_empty())
}

/// An entry of the list.
#[derive(Clone, Copy)]
struct Entry<'a> {
    /// Everything between two commas.
    whole: &'a [u8],
    /// The same without blanks around it; it may be empty (RFC 9110 section 5.6.1).
    text: &'a [u8],
    /// The text of the entry before it, empty ones left out.
    before: Option<&'a [u8]>,
}

fn entries(field: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut before = None;
    field.split(|byte| *byte == b',').map(move |whole| {
        let entry = Entry { whole, text: whole.trim_ascii(), before };
        if !entry.text.is_empty() {
            before = Some(entry.text);
        }
        entry
    })
}

impl Subprotocols {
    /// One more marker; false where it is there already.
    pub fn add(&mut self, marker: Marker) -> bool {
        if self.markers.contains(&marker) {
            return false;
        }
        // Of two that begin an entry the one that says more is taken.
        let at = self.markers.partition_point(|own| own.text.len() >= marker.text.len());
        self.markers.insert(at, marker);
        true
    }

    /// The markers of another place too.
    pub fn add_all(&mut self, other: &Self) {
        for marker in &other.markers {
            self.add(marker.clone());
        }
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.markers.is_empty()
    }

    /// The one token of the list. A field that is there twice counts as several, and so does a token beside an entry that
    /// some reader could take for another one.
    pub(super) fn find<'a>(&self, request: &Request<'a>) -> Found<'a> {
        let mut fields = request.all(SUBPROTOCOLS);
        let Some(field) = fields.next() else { return Found::Nothing };
        if fields.next().is_some() {
            return Found::Several;
        }
        let token = |entry| self.markers.iter().find_map(|marker| marker.token(entry));
        let tokens = entries(field).filter_map(token);
        let found = Found::among(tokens.map(|text| Credential::bearer(text, CredentialSource::Header)));
        let alone = || entries(field).filter(|entry| self.could_hold_token(*entry)).nth(1).is_none();
        if matches!(found, Found::One(_)) && !alone() { Found::Several } else { found }
    }

    fn could_hold_token(&self, entry: Entry<'_>) -> bool {
        !entry.text.is_empty()
            && (self.markers.iter().any(|marker| marker.is_met_leniently(entry))
                || words(entry.text).any(is_like_token))
    }

    /// The fields of a request without the entries in which some reader could find a token, but for those of which `stays`
    /// says that they stay. The others, and markers that are entries of their own, stay as they are, to the byte. None
    /// where nothing goes.
    pub fn without(&self, request: &Request<'_>, stays: impl Fn(&[u8]) -> bool) -> Option<Vec<Vec<u8>>> {
        let goes = |entry: Entry<'_>| self.could_hold_token(entry) && !stays(entry.text);
        if self.is_empty() || !request.all(SUBPROTOCOLS).flat_map(entries).any(goes) {
            return None;
        }
        let left = request.all(SUBPROTOCOLS).filter_map(|field| {
            let kept: Vec<&[u8]> =
                entries(field).filter(|entry| !goes(*entry)).map(|entry| entry.whole).collect();
            let has_entries = kept.iter().any(|whole| !whole.trim_ascii().is_empty());
            has_entries.then(|| kept.join(&b',').trim_ascii().to_vec())
        });
        Some(left.collect())
    }
}

/// Names the place as the operator does.
impl fmt::Display for Subprotocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header {SUBPROTOCOLS:?}")?;
        let texts: Vec<_> = self.markers.iter().map(|marker| format!("{:?}", marker.text)).collect();
        match texts.join(" or ") {
            none if none == "\"\"" => Ok(()),
            texts => write!(f, " with {texts}"),
        }
    }
}
