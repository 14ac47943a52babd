//! The names under which a token can be revoked.

use sha2::{Digest as _, Sha256};

use crate::json::Json;
use crate::reason::{Detail, Reason, Rejected};
use crate::time::Timestamp;
use crate::token::Claims;

/// What an entry of a list names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// One token, by its `jti`
    Token = 1,
    /// The tokens of a session, by their `sid` (OpenID Connect Front-Channel Logout 1.0)
    Session = 2,
    /// The tokens of a subject, by their `sub`
    Subject = 3,
    /// The tokens of a client, by their `client_id` (RFC 9068) or `azp` (OpenID Connect Core 1.0)
    Client = 4,
    /// The tokens of an issuer
    Issuer = 5,
    /// Every token
    Everyone = 6,
}

/// A name, shortened to 96 bits: that another name should have the same takes 2^96 tries, and two of a
/// million do with a chance of one in 10^17.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub [u8; 12]);

impl Key {
    /// The key of a name within an issuer. Lengths go in, so that no two names are one text.
    pub fn new(kind: Kind, issuer: &str, value: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update([kind as u8]);
        hash.update((issuer.len() as u64).to_le_bytes());
        hash.update(issuer);
        hash.update(value);
        let digest: [u8; 32] = hash.finalize().into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// The names of one token: all that a list needs to know of it. Made of what the token claims, never of
/// its text, for one token has many texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub(super) own: Vec<Key>,
    pub(super) wide: [Key; 2],
    pub(super) issued: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
}

impl Identity {
    /// The names of a token with these claims.
    ///
    /// # Errors
    /// [`Reason::ClaimInvalid`] for a name that is there and is not a text, `null` included: no entry
    /// could match it, and the token would be out of reach of every list.
    pub fn read(claims: &Claims) -> Result<Self, Rejected> {
        for name in ["jti", "sid", "sub", "iss", "client_id", "azp"] {
            match claims.all().get(name) {
                None | Some(Json::String(_)) => {}
                Some(other) => {
                    return Err(Reason::ClaimInvalid.with(Detail::ClaimType {
                        claim: format!("{name:?}"),
                        found: other.kind(),
                        expected: "a string",
                    }));
                }
            }
        }
        Ok(Self::new(claims))
    }

    /// The same for claims whose types were checked; what is not a text names nothing.
    pub fn new(claims: &Claims) -> Self {
        let issuer = claims.issuer.as_deref().unwrap_or_default();
        let text = |name: &str| claims.all().get(name).and_then(Json::as_str);
        let names = [
            (Kind::Token, text("jti")),
            (Kind::Session, text("sid")),
            (Kind::Subject, claims.subject.as_deref()),
            (Kind::Client, text("client_id")),
            (Kind::Client, text("azp")),
        ];
        let mut own: Vec<Key> =
            names.iter().filter_map(|(kind, value)| Some(Key::new(*kind, issuer, (*value)?))).collect();
        own.dedup();
        let wide = [Key::new(Kind::Issuer, issuer, ""), Key::new(Kind::Everyone, "", "")];
        Self { own, wide, issued: claims.issued, expires: claims.expires }
    }
}
