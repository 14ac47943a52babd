//! The JOSE header (RFC 7515 section 4).

use std::cell::RefCell;
use std::rc::Rc;

use crate::crypto::Algorithm;
use crate::json::{self, Json};
use crate::reason::Reason;

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
const MAX_BYTES: usize = 4096;

impl Header {
    /// Reads a decoded header.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`] for what is no JSON object, is longer than 4096 bytes, has no `alg` or
    /// a `zip` (RFC 7516 section 4.1.3), or gives `alg`, `kid` or `typ` another type than string;
    /// [`Reason::TokenEncrypted`] for one with `enc` (RFC 7516 section 4.1.2);
    /// [`Reason::CriticalHeader`] for one with `crit` or `b64`; [`Reason::AlgorithmNotAllowed`] for an
    /// `alg` that is not known.
    pub fn parse(text: &[u8]) -> Result<Self, Reason> {
        if text.len() > MAX_BYTES {
            return Err(Reason::TokenMalformed);
        }
        let Ok(Json::Object(header)) = json::parse(text) else {
            return Err(Reason::TokenMalformed);
        };
        let string = |name| match header.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(Reason::TokenMalformed),
        };
        if header.contains("enc") {
            return Err(Reason::TokenEncrypted);
        }
        // No extension is understood, so whatever is marked critical is refused (RFC 7515 section
        // 4.1.11); `b64` must be marked critical (RFC 7797 section 6) and is refused without, too.
        if header.contains("crit") || header.contains("b64") {
            return Err(Reason::CriticalHeader);
        }
        if header.contains("zip") {
            return Err(Reason::TokenMalformed);
        }
        let kid = string("kid")?.map(ToString::to_string);
        let typ = string("typ")?.map(|typ| normal_type(typ));
        let alg = string("alg")?.ok_or(Reason::TokenMalformed)?;
        let algorithm = Algorithm::from_name(alg).ok_or(Reason::AlgorithmNotAllowed)?;
        Ok(Self { algorithm, kid, typ })
    }
}

/// How many headers are remembered: a signer has one for each of its keys.
const MOST: usize = 16;
/// The longest text that is remembered.
const LONGEST: usize = 512;

thread_local! {
    /// The last headers under which a signature held, each with its text: a signer puts the same text before
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
    if text.len() > LONGEST {
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
        known.next = next.wrapping_add(1) % MOST;
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
            let expected = (kid >= 100 - MOST).then(|| header(kid));
            assert_eq!(known(&format!("text{kid}")), expected, "{kid}");
        }
        remember(&"x".repeat(LONGEST + 1), &header(0));
        assert_eq!(known(&"x".repeat(LONGEST + 1)), None);
        KNOWN.with_borrow(|known| assert_eq!(known.headers.len(), MOST));
    }
}
