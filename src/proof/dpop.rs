//! DPoP proofs (RFC 9449): what a request proves of the key that its token is bound to.
//!
//! The numbers are those of the checks in section 4.3. A proof is read as strictly as a token. What costs little is
//! checked first, and the signature near the end.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::confirmation::Confirmation;
use super::htu::{self, Origin};
use super::key::{ProofKey, thumbprint};
use super::nonce::Nonces;
use super::replay::SingleUse;
use crate::crypto::{AlgorithmSet, Backend};
use crate::json::{self, Json, Object};
use crate::reason::{Detail, Reason, Rejected};
use crate::request::Request;
use crate::time::Timestamp;
use crate::token::{Header, Jws};

/// The field with the proof (RFC 9449 section 4.1), in lower case.
pub const FIELD: &str = "dpop";
/// The field that tells a client which nonce to use (section 8.2), in lower case.
pub const NONCE_FIELD: &str = "dpop-nonce";
/// The longest proof that is read, in bytes.
pub const MAX_PROOF: usize = 8192;

/// What a provider asks of the proofs that come with its tokens.
#[derive(Clone, Debug)]
pub struct Dpop {
    /// What clients send their requests to. `htu` begins with one of these; there is one at least.
    pub origins: Vec<Origin>,
    /// `alg` is one of these, none of which is symmetric.
    pub algorithms: AlgorithmSet,
    /// The same as a challenge tells them: names with blanks between.
    pub algs: String,
    /// How long ago a proof may have been made.
    pub max_age: Duration,
    /// How far the clock of its maker may be ahead.
    pub clock_skew: Duration,
    /// The nonces that proofs must have, if they must.
    pub nonces: Option<Nonces>,
    /// How many proofs are remembered.
    pub replay_entries: usize,
}

/// The claims of a proof (RFC 9449 section 4.2).
struct ProofClaims<'c>(&'c Object);

impl Dpop {
    /// How long a proof is good for at most, and so how long it is remembered.
    pub fn window(&self) -> Duration {
        let nonces = self.nonces.as_ref().map_or(Duration::ZERO, |nonces| nonces.lifetime);
        self.max_age.max(nonces).saturating_add(self.clock_skew)
    }

    /// Checks the proof of a request with a token that is bound to a key, and gives what must not come again. `token` is
    /// the token's text.
    ///
    /// # Errors
    /// [`Reason::ProofMissing`] where there is none, [`Reason::NonceRequired`] for a good one without a good nonce, and
    /// [`Reason::ProofInvalid`] for every other.
    pub fn check(
        &self,
        confirmation: &Confirmation,
        token: &[u8],
        request: &Request<'_>,
        backend: &Backend,
        now: Timestamp,
    ) -> Result<SingleUse, Rejected> {
        let bound = confirmation.key.as_deref().ok_or(invalid("the token is bound to no key of proofs"))?;
        // 1 and 2
        let mut fields = request.all(FIELD);
        let proof = fields.next().ok_or(MISSING)?;
        if fields.next().is_some() {
            return Err(invalid("there are two fields \"DPoP\""));
        }
        if proof.len() > MAX_PROOF {
            let size = Detail::Size { bytes: proof.len(), setting: "the longest proof", limit: MAX_PROOF };
            return Err(Reason::ProofInvalid.with(size));
        }
        let jws = Jws::parse(proof)
            .map_err(|rejected| Reason::ProofInvalid.explained(format!("the proof: {}", rejected.context)))?;
        self.check_header(jws.header())?;
        let payload = jws.payload().map_err(|_| UNREADABLE)?;
        let claims = json::parse(&payload).map_err(|_| UNREADABLE)?;
        let claims = ProofClaims(claims.as_object().ok_or(UNREADABLE)?);
        // 3, 8, 9
        if claims.text("htm")?.as_bytes() != request.method() {
            return Err(invalid("its \"htm\" is another method"));
        }
        htu::check(claims.text("htu")?, &self.origins, request).map_err(invalid)?;
        // 12, the token's hash
        if claims.text("ath")? != confirmation.hash_of(token) {
            return Err(invalid("its \"ath\" is not base64url of the SHA-256 of this token"));
        }
        let jti = Some(claims.text("jti")?).filter(|jti| !jti.is_empty());
        let jti = jti.ok_or(invalid("its \"jti\" is empty"))?;
        let issued = claims.times(now)?;
        check_signature(&jws, bound, confirmation, backend)?;
        // 10 and 11
        let until = match &self.nonces {
            Some(nonces) => self.check_nonce(nonces, &claims, now)?,
            None => self.check_age(issued, now)?,
        };
        Ok(SingleUse::new("proof", &[bound, jti], until))
    }

    /// 4 and 5.
    fn check_header(&self, header: &Header) -> Result<(), Rejected> {
        if header.typ.as_deref() != Some("dpop+jwt") {
            return Err(invalid("its \"typ\" is not \"dpop+jwt\""));
        }
        if !self.algorithms.contains(header.algorithm) {
            return Err(Reason::ProofInvalid.with(Detail::NotAccepted {
                what: "\"alg\" of the proof".to_owned(),
                found: Some(header.algorithm.name().to_owned()),
                accepted: self.algs.clone(),
            }));
        }
        Ok(())
    }

    /// The time of a nonce says how old the proof is: the client's clock does not count.
    fn check_nonce(
        &self,
        nonces: &Nonces,
        claims: &ProofClaims<'_>,
        now: Timestamp,
    ) -> Result<Timestamp, Rejected> {
        const ABSENT: Rejected = Reason::NonceRequired.because("the proof has no nonce");
        const OTHER: Rejected =
            Reason::NonceRequired.because("the nonce of the proof is too old, or was not made with this key");
        let nonce = claims.0.get("nonce").ok_or(ABSENT)?;
        let made = nonce.as_str().and_then(|nonce| nonces.time_of(nonce, self.clock_skew, now));
        Ok(made.ok_or(OTHER)?.plus(nonces.lifetime))
    }

    fn check_age(&self, issued: Timestamp, now: Timestamp) -> Result<Timestamp, Rejected> {
        let date = |setting, limit| {
            Reason::ProofInvalid.with(Detail::Date { claim: "iat", value: issued, now, setting, limit })
        };
        let until = issued.plus(self.max_age);
        if now > until {
            return Err(date("max_age of dpop", self.max_age));
        }
        if issued > now.plus(self.clock_skew) {
            return Err(date("clock_skew_seconds of dpop", self.clock_skew));
        }
        Ok(until)
    }
}

/// 6, 7, and the key of 12: the signature is that of the key which the proof brings along, and which the token names.
fn check_signature(
    jws: &Jws<'_>,
    bound: &str,
    confirmation: &Confirmation,
    backend: &Backend,
) -> Result<(), Rejected> {
    let known = confirmation.proven.get().filter(|(head, _)| **head == *jws.head());
    let fresh = match known {
        Some(_) => None,
        None => Some(read_key(jws.head(), bound)?),
    };
    let key = fresh.as_ref().or(known.map(|(_, key)| key)).ok_or(UNREADABLE)?;
    if key.algorithm.is_some_and(|own| own != jws.header().algorithm) {
        return Err(invalid("\"jwk\" in its header is for another algorithm"));
    }
    if !jws.is_signed_with(backend, &key.key) {
        return Err(invalid("its signature does not hold"));
    }
    if let Some(key) = fresh {
        let _ = confirmation.proven.set((jws.head().into(), key));
    }
    Ok(())
}

/// The key in a header, which is JSON as strict as that of a token. It must be the one that the token names.
fn read_key(head: &str, bound: &str) -> Result<ProofKey, Rejected> {
    let header = BASE64_URL_SAFE_NO_PAD.decode(head).map_err(|_| UNREADABLE)?;
    let header = json::parse(&header).map_err(|_| UNREADABLE)?;
    let jwk = header.as_object().and_then(|header| header.get("jwk"));
    let jwk = jwk.ok_or(invalid("its header has no \"jwk\""))?;
    if thumbprint(jwk).map_err(invalid)? != bound {
        return Err(invalid("it was made with another key than the one that the token is bound to"));
    }
    ProofKey::read(jwk).map_err(invalid)
}

impl<'c> ProofClaims<'c> {
    fn text(&self, name: &'static str) -> Result<&'c str, Rejected> {
        let value = self.0.get(name).and_then(Json::as_str);
        value.ok_or_else(|| {
            Reason::ProofInvalid.explained(format!("the proof: its {name:?} is missing, or no text"))
        })
    }

    /// When it says that it was made. It must not have ended, nor begin later, where it says so.
    fn times(&self, now: Timestamp) -> Result<Timestamp, Rejected> {
        let time = |name| match self.0.get(name) {
            None => Ok(None),
            Some(Json::Number(number)) => Timestamp::from_number(*number).map(Some).map_err(|_| NO_TIME),
            Some(_) => Err(NO_TIME),
        };
        let (issued, expires, begins) = (time("iat")?, time("exp")?, time("nbf")?);
        if expires.is_some_and(|expires| now >= expires) {
            return Err(invalid("it has expired"));
        }
        if begins.is_some_and(|begins| now < begins) {
            return Err(invalid("it is not valid yet (\"nbf\")"));
        }
        issued.ok_or(invalid("its \"iat\" is missing"))
    }
}

const MISSING: Rejected = Reason::ProofMissing.because("there is no field \"DPoP\"");
const UNREADABLE: Rejected = invalid("it is not a JWT of two JSON objects and a signature");
const NO_TIME: Rejected = invalid("its \"iat\", \"exp\" or \"nbf\" is no number of seconds");

/// A proof that shows nothing; `words` say what is wrong with it.
const fn invalid(words: &'static str) -> Rejected {
    Reason::ProofInvalid.because(words)
}
