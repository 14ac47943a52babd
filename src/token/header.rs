//! The JOSE header (RFC 7515 section 4).

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use crate::crypto::Algorithm;
use crate::json::{self, Json, JsonSpan, Piece, SHORT};
use crate::reason::{Detail, Reason, Rejected, excerpt};

/// What a token's header says. `jwk`, `jku`, `x5u`, `x5c` and `x5t` are never looked at: a token does
/// not choose its key (RFC 8725 section 3.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// `alg` (RFC 7515 section 4.1.1)
    pub algorithm: Algorithm,
    /// `kid` (RFC 7515 section 4.1.4): an opaque name, compared byte for byte
    pub kid: Option<String>,
    /// `typ` in lower case without a leading `application/` (RFC 7515 section 4.1.9)
    pub typ: Option<String>,
}

/// The longest header that is read, in bytes of its JSON text.
pub const MAX_HEADER: usize = 4096;

pub(super) const TOO_LONG: Rejected = Reason::TokenMalformed.because("its header is longer than 4096 bytes");

const NOT_JSON: Rejected = Reason::TokenMalformed.because("its header is no JSON object");

/// The rejection of a token of which a part has a member twice. A name is no value: it may be told.
#[cold]
pub(super) fn twice(part: &str, name: &str) -> Rejected {
    Reason::TokenMalformed.explained(format!("its {part} has the member {} twice", excerpt(name)))
}

/// The rejection of a token of which a part is no JSON that is accepted.
#[cold]
pub(super) fn unreadable(part: &str, error: &json::Error) -> Rejected {
    match error.duplicate() {
        Some(name) => twice(part, name),
        None => Reason::TokenMalformed.explained(format!("its {part} cannot be read: {error}")),
    }
}

fn unknown(alg: &str) -> Rejected {
    Reason::AlgorithmNotAllowed.with(Detail::NotAccepted {
        what: "alg".to_owned(),
        found: Some(excerpt(alg)),
        accepted: "the signature algorithms that are known".to_owned(),
    })
}

/// The members that are looked at, as they were written.
#[derive(Default)]
struct Seen<'t> {
    members: [Option<Piece<'t>>; NAMES.len()],
    twice: Option<&'static str>,
}

const NAMES: [&str; 7] = ["alg", "kid", "typ", "enc", "crit", "b64", "zip"];

impl<'t> Seen<'t> {
    fn add(&mut self, name: &[u8], value: JsonSpan<'t>) {
        for (own, place) in NAMES.iter().zip(&mut self.members) {
            if own.as_bytes() == name && place.replace(value.piece()).is_some() {
                self.twice = Some(own);
            }
        }
    }

    fn get(&self, name: &str) -> Option<Piece<'t>> {
        NAMES.iter().zip(&self.members).find_map(|(own, value)| value.filter(|_| *own == name))
    }

    /// A member that may be a string and nothing else.
    fn string(&self, name: &str, otherwise: &'static str) -> Result<Option<Cow<'t, str>>, Rejected> {
        self.get(name).map(|value| value.text().ok_or(Reason::TokenMalformed.because(otherwise))).transpose()
    }
}

impl Header {
    /// Reads a decoded header as a first look shows it; the strict reading comes once the signature is verified.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`] for what is no JSON object, is longer than [`MAX_HEADER`], has no `alg` or
    /// a `zip` (RFC 7516 section 4.1.3), gives `alg`, `kid` or `typ` another type than string, or one of these
    /// twice; [`Reason::TokenEncrypted`] for one with `enc` (RFC 7516 section 4.1.2);
    /// [`Reason::CriticalHeader`] for one with `crit` or `b64`; [`Reason::AlgorithmNotAllowed`] for an
    /// `alg` that is not known.
    pub fn parse(text: &[u8]) -> Result<Self, Rejected> {
        if text.len() > MAX_HEADER {
            return Err(TOO_LONG);
        }
        let text = std::str::from_utf8(text).map_err(|_| NOT_JSON)?;
        let mut header = Seen::default();
        let whole = json::look_over(text, |name, value| match name.plain() {
            Some(plain) => header.add(plain, value),
            // A longer one is none of ours.
            None => {
                if let Some(decoded) = name.piece().short(&mut [0; SHORT]) {
                    header.add(decoded, value);
                }
            }
        });
        if !whole {
            return Err(NOT_JSON);
        }
        if let Some(name) = header.twice {
            return Err(twice("header", name));
        }
        let contains = |name| header.get(name).is_some();
        if contains("enc") {
            return Err(Reason::TokenEncrypted.because("its header has \"enc\", as that of a JWE"));
        }
        // No extension is understood, so whatever is marked critical is refused (RFC 7515 section
        // 4.1.11); `b64` must be marked critical (RFC 7797 section 6) and is refused without, too.
        if contains("crit") {
            return Err(Reason::CriticalHeader.because("its header has \"crit\""));
        }
        if contains("b64") {
            return Err(Reason::CriticalHeader.because("its header has \"b64\""));
        }
        if contains("zip") {
            return Err(Reason::TokenMalformed.because("its header has \"zip\", which is for a JWE"));
        }
        let kid = header.string("kid", "\"kid\" in its header is no string")?.map(Cow::into_owned);
        let typ = header.string("typ", "\"typ\" in its header is no string")?.map(|typ| normal_type(&typ));
        let alg = header.string("alg", "\"alg\" in its header is no string")?;
        let alg = alg.ok_or(const { Reason::TokenMalformed.because("its header has no \"alg\"") })?;
        let algorithm = Algorithm::from_name(&alg).ok_or_else(|| unknown(&alg))?;
        Ok(Self { algorithm, kid, typ })
    }

    /// Whether a decoded header is JSON as it must be, with no member twice at any depth (RFC 7515 section 4). It
    /// costs more than the first look, and is asked once the signature holds.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`] where it is not.
    pub(super) fn check_strictly(text: &[u8]) -> Result<(), Rejected> {
        match json::parse(text) {
            Ok(Json::Object(_)) => Ok(()),
            Ok(_) => Err(NOT_JSON),
            Err(error) => Err(unreadable("header", &error)),
        }
    }
}

/// How many headers are remembered: a signer has one for each of its keys.
const MAX_KNOWN: usize = 16;
/// The longest text that is remembered.
const MAX_KNOWN_TEXT: usize = 512;

thread_local! {
    /// The last headers of tokens whose signatures were verified, each with its text: a signer puts the same text before
    /// every token. What a text says never changes, so this can be neither stale nor wrong; and only who can
    /// sign gets anything in.
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { headers: Vec::new(), next: 0 }) };
}

struct Known {
    headers: Vec<(Box<str>, Rc<Header>)>,
    /// Where the next one goes.
    next: usize,
}

/// The header of this text, in base64url, if it is remembered.
pub(super) fn known(text: &str) -> Option<Rc<Header>> {
    KNOWN.with_borrow(|known| {
        let (_, header) = known.headers.iter().find(|(own, _)| **own == *text)?;
        Some(Rc::clone(header))
    })
}

/// Remembers the header of this text, in the place of the one that was remembered first where there is no room.
pub(super) fn remember(text: &str, header: &Rc<Header>) {
    if text.len() > MAX_KNOWN_TEXT {
        return;
    }
    KNOWN.with_borrow_mut(|known| {
        if known.headers.iter().any(|(own, _)| **own == *text) {
            return;
        }
        let entry = (text.into(), Rc::clone(header));
        let next = known.next;
        match known.headers.get_mut(next) {
            Some(place) => *place = entry,
            None => known.headers.push(entry),
        }
        known.next = next.wrapping_add(1) % MAX_KNOWN;
    });
}

/// A media type as RFC 7515 section 4.1.9 compares it: without case, and `application/` implied
/// where there is no slash.
pub fn normal_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => typ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_headers_are_remembered_each_under_its_own_text() {
        let header = |kid: usize| {
            Rc::new(Header { algorithm: Algorithm::Es256, kid: Some(kid.to_string()), typ: None })
        };
        for kid in 0..100 {
            assert_eq!(known(&format!("text{kid}")), None);
            for _ in 0..2 {
                remember(&format!("text{kid}"), &header(kid));
            }
        }
        for kid in 0..100 {
            let expected = (kid >= 100 - MAX_KNOWN).then(|| header(kid));
            assert_eq!(known(&format!("text{kid}")), expected, "{kid}");
        }
        remember(&"x".repeat(MAX_KNOWN_TEXT + 1), &header(0));
        assert_eq!(known(&"x".repeat(MAX_KNOWN_TEXT + 1)), None);
        KNOWN.with_borrow(|known| assert_eq!(known.headers.len(), MAX_KNOWN));
    }
}
