//! The independent verifier: what RFC 7515, RFC 7519 and the interface say of a token, written down a
//! second time on other libraries. It judges in the order in which the texts are easiest to read, all
//! of a token at once, and keeps nothing.

use harness::{Alg, Key};

use crate::mutants_native::date::Date;
use crate::mutants_native::reader::{Value, base64url, json};

/// What the issuer's key set says of a key.
pub(crate) struct Published {
    pub(crate) kid: Option<&'static str>,
    /// The one algorithm that it is for, where the set says so.
    pub(crate) pinned: bool,
    pub(crate) key: Key,
    /// The length of a secret in bytes.
    pub(crate) secret: Option<usize>,
}

impl Published {
    /// Whether the key can serve at all: a secret counts only where the provider names an algorithm
    /// for it, and never under 256 bits (RFC 7518 section 3.2).
    pub(crate) fn is_usable(&self, secrets_count: bool) -> bool {
        self.secret.is_none_or(|length| secrets_count && length >= 32)
    }
}

/// What a provider asks of its tokens, as the interface has it.
pub(crate) struct Demands {
    pub(crate) issuers: &'static [&'static str],
    /// `https://login.example/{tid}/v2.0`, with these tenants.
    pub(crate) tenants: &'static [&'static str],
    pub(crate) audiences: &'static [&'static str],
    pub(crate) audience_claims: &'static [&'static [&'static str]],
    pub(crate) normalized: bool,
    pub(crate) subject_prefix: &'static str,
    pub(crate) algorithms: &'static [Alg],
    /// Media types in full; the empty one stands for a token without `typ`.
    pub(crate) types: &'static [&'static str],
    pub(crate) bound_is_fine: bool,
    pub(crate) skew: u64,
    pub(crate) expiration: bool,
    pub(crate) max_lifetime: Option<u64>,
    pub(crate) max_age: Option<u64>,
    pub(crate) required: &'static [&'static str],
    pub(crate) scope_claims: &'static [&'static [&'static str]],
}

/// The written-down differences: where the filter departs from this verifier, and why it may. Each is
/// a change to this verifier that gives the filter's verdict; a disagreement that none explains fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Difference {
    /// None of them.
    None,
    /// A date with a fraction, an exponent or more digits than 64 bits hold is read as the nearest
    /// double and to the nanosecond. RFC 8259 section 6 expects doubles of a reader; at today's dates
    /// they are 240 ns apart, which matters only to a token that expires in that very moment.
    DatesAreDoubles,
}

impl Difference {
    pub(crate) const ALL: [Self; 1] = [Self::DatesAreDoubles];
}

/// What an accepted token says.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) claims: usize,
}

pub(crate) struct Verifier<'w> {
    pub(crate) keys: &'w [Published],
    pub(crate) demands: &'w Demands,
    pub(crate) difference: Difference,
}

impl Verifier<'_> {
    /// What the token says, or the first thing that is wrong with it.
    pub(crate) fn judge(&self, token: &[u8], now: &Date) -> Result<Accepted, &'static str> {
        let token = std::str::from_utf8(token).map_err(|_| "not text")?;
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else { return Err("not three parts") };
        let read = |part: &str| base64url(part).filter(|bytes| !bytes.is_empty());
        let header_bytes = read(header).ok_or("header: not base64url")?;
        let payload = read(payload).ok_or("payload: not base64url")?;
        let signature = read(signature).ok_or("signature: not base64url")?;
        if header_bytes.len() > 4096 {
            return Err("header: over 4 KiB");
        }
        let header = json(&header_bytes).filter(|value| matches!(value, Value::Members(_)));
        let header = header.ok_or("header: not a JSON object")?;
        let claims = json(&payload).filter(|value| matches!(value, Value::Members(_)));
        let claims = claims.ok_or("claims: not a JSON object")?;
        let algorithm = self.header(&header)?;
        self.dates(&claims, now)?;
        self.parties(&claims)?;
        let scopes = self.scopes(&claims)?;
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        self.signature(&header, algorithm, signed.as_bytes(), &signature)?;
        let text = |name| claims.member(name).and_then(Value::text).map(str::to_owned);
        let Value::Members(members) = &claims else { return Err("unreachable") };
        Ok(Accepted { issuer: text("iss"), subject: text("sub"), scopes, claims: members.len() })
    }

    fn header(&self, header: &Value) -> Result<Alg, &'static str> {
        for name in ["crit", "b64", "enc", "zip"] {
            if header.member(name).is_some() {
                return Err("header: a member that changes what is signed, or how");
            }
        }
        if header.member("kid").is_some_and(|kid| kid.text().is_none()) {
            return Err("header: kid is not a string");
        }
        let typ = match header.member("typ") {
            None => String::new(),
            Some(Value::Text(typ)) => {
                // RFC 7515 section 4.1.9: where no slash is, "application/" goes before.
                let full = if typ.contains('/') { typ.clone() } else { format!("application/{typ}") };
                full.to_ascii_lowercase()
            }
            Some(_) => return Err("header: typ is not a string"),
        };
        if !self.demands.types.contains(&typ.as_str()) {
            return Err("header: typ");
        }
        let name = header.member("alg").and_then(Value::text).ok_or("header: no alg")?;
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        let allowed = self.demands.algorithms.iter().find(|own| own.name() == name);
        allowed.copied().ok_or("header: alg")
    }

    /// RFC 7519 sections 4.1.4 to 4.1.6, with the skew on every comparison of clocks.
    fn dates(&self, claims: &Value, now: &Date) -> Result<(), &'static str> {
        let date = |name| match claims.member(name) {
            None => Ok(None),
            Some(Value::Number(text)) => match self.difference {
                Difference::DatesAreDoubles => {
                    Date::read_as_double(text).map(Some).ok_or("a date out of range")
                }
                Difference::None => Date::read(text).map(Some).ok_or("a date out of range"),
            },
            Some(_) => Err("a date that is no number"),
        };
        let Demands { skew, expiration, max_lifetime, max_age, .. } = *self.demands;
        let (exp, nbf, iat) = (date("exp")?, date("nbf")?, date("iat")?);
        match exp {
            None if expiration || max_lifetime.is_some() => return Err("no exp"),
            None => {}
            Some(exp) if exp.is_zero() || *now >= exp.plus(skew) => return Err("exp"),
            Some(exp) if max_lifetime.is_some_and(|most| exp > now.plus(most)) => return Err("lifetime"),
            Some(_) => {}
        }
        if nbf.is_some_and(|nbf| now.plus(skew) < nbf) {
            return Err("nbf");
        }
        match (iat, max_age) {
            (None, Some(_)) => Err("no iat"),
            (Some(iat), _) if iat > now.plus(skew) => Err("iat"),
            (Some(iat), Some(most)) if *now > iat.plus(most) => Err("age"),
            _ => Ok(()),
        }
    }

    /// Who made the token, for whom, about whom.
    fn parties(&self, claims: &Value) -> Result<(), &'static str> {
        let demands = self.demands;
        for name in ["iss", "sub", "jti"] {
            if claims.member(name).is_some_and(|value| value.text().is_none()) {
                return Err("iss, sub or jti is not a string");
            }
        }
        let iss = claims.member("iss").and_then(Value::text);
        let tenant = claims.member("tid").and_then(Value::text);
        let of_tenant = |iss: &str| {
            tenant.is_some_and(|tid| {
                demands.tenants.contains(&tid) && iss == format!("https://login.example/{tid}/v2.0")
            })
        };
        let unchecked = demands.issuers.is_empty() && demands.tenants.is_empty();
        if !unchecked && !iss.is_some_and(|iss| demands.issuers.contains(&iss) || of_tenant(iss)) {
            return Err("iss");
        }
        if let Some(aud) = claims.member("aud") {
            texts(aud).ok_or("aud is neither a string nor a list of strings")?;
        }
        if !demands.audiences.is_empty() {
            let aud = demands.audience_claims.iter().find_map(|path| at(claims, path)).ok_or("no aud")?;
            let aud = texts(aud).ok_or("the audience is neither a string nor a list of strings")?;
            let bare = |text: &str| {
                let text = text.strip_prefix("http://").or(text.strip_prefix("https://")).unwrap_or(text);
                text.strip_suffix('/').unwrap_or(text).to_owned()
            };
            let same = |own: &str, other: &str| {
                if demands.normalized { bare(own) == bare(other) } else { own == other }
            };
            if !aud.iter().any(|one| demands.audiences.iter().any(|own| same(own, one))) {
                return Err("aud");
            }
        }
        let sub = claims.member("sub").and_then(Value::text);
        if !demands.subject_prefix.is_empty()
            && !sub.is_some_and(|sub| sub.starts_with(demands.subject_prefix))
        {
            return Err("sub");
        }
        if demands.required.iter().any(|name| matches!(claims.member(name), None | Some(Value::Null))) {
            return Err("a required claim");
        }
        if !demands.bound_is_fine && claims.member("cnf").is_some() {
            return Err("cnf");
        }
        if !matches!(claims.member("events"), None | Some(Value::Null)) {
            return Err("events: a security event token");
        }
        Ok(())
    }

    /// RFC 6749 section 3.3, or a list; each scope once, in order.
    fn scopes(&self, claims: &Value) -> Result<Vec<String>, &'static str> {
        let mut scopes: Vec<String> = Vec::new();
        for path in self.demands.scope_claims {
            let found = match at(claims, path) {
                None | Some(Value::Null) => continue,
                Some(Value::Text(text)) => text.split(' ').map(str::to_owned).collect(),
                Some(list) => {
                    texts(list).ok_or("a scope claim that is neither a string nor a list of them")?
                }
            };
            for scope in found {
                if !scope.is_empty() && !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
        Ok(scopes)
    }

    /// The keys of the `kid`; where there are none, those without one; without a `kid`, all. Of these
    /// the ones that go with the algorithm, by kind, by curve, by length and by their own `alg`.
    fn signature(
        &self,
        header: &Value,
        alg: Alg,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), &'static str> {
        let secrets_count = self.demands.algorithms.iter().any(|own| own.is_symmetric());
        let usable = || self.keys.iter().filter(|own| own.is_usable(secrets_count));
        let kid = header.member("kid").and_then(Value::text);
        let known = usable().any(|own| kid.is_some() && own.kid == kid);
        let holds = usable().any(|own| {
            let meant = match kid {
                None => true,
                Some(_) if known => own.kid == kid,
                Some(_) => own.kid.is_none(),
            };
            let fits = if own.pinned { own.key.alg() == alg } else { family(own.key.alg()) == family(alg) };
            let long_enough = own.secret.is_none_or(|length| length * 8 >= bits(alg));
            meant && fits && long_enough && own.key.with_alg(alg).verify(signed, signature)
        });
        if holds { Ok(()) } else { Err("the signature") }
    }
}

/// The value at a path of names: a claim whose whole name is the path with dots comes first.
fn at<'v>(claims: &'v Value, path: &[&str]) -> Option<&'v Value> {
    let stepwise = || path.iter().try_fold(claims, |value, name| value.member(name));
    claims.member(&path.join(".")).or_else(stepwise)
}

/// A string or a list of strings.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Text(text) => Some(vec![text.clone()]),
        Value::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// Algorithms that one key can serve.
fn family(alg: Alg) -> &'static str {
    match alg {
        Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => "RSA",
        Alg::ES256 => "P-256",
        Alg::ES384 => "P-384",
        Alg::ES512 => "P-521",
        Alg::EdDSA => "Ed25519",
        Alg::HS256 | Alg::HS384 | Alg::HS512 => "oct",
    }
}

/// The bits of a secret that RFC 7518 section 3.2 asks for.
fn bits(alg: Alg) -> usize {
    match alg {
        Alg::HS384 => 384,
        Alg::HS512 => 512,
        _ => 256,
    }
}
