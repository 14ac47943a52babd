//! `WWW-Authenticate` (RFC 9110 section 11.6.1): the challenges of a refusal, one a field. Some clients read the first
//! alone, so that it is the one of the scheme that was used.

use crate::reason::Challenge;
use crate::token::Scheme;

/// What is told of the scheme `DPoP` (RFC 9449 section 7.1), where a provider takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DpopChallenge {
    /// The algorithms of proofs, with blanks between.
    pub algs: String,
    /// The scheme of the token that was refused; `Bearer` where there was none.
    pub used: Scheme,
    /// Whether a token of the scheme `Bearer` could pass.
    pub beside_bearer: bool,
    /// The nonce to use in the next proof (section 8).
    pub nonce: Option<String>,
}

/// What the challenges of a refusal have in common.
pub(super) struct Parameters<'r> {
    pub(super) kind: Challenge,
    pub(super) realm: &'r str,
    pub(super) scope: Option<&'r str>,
    pub(super) description: &'r str,
}

/// The challenges of a refusal in their order.
pub(super) fn challenges(parameters: &Parameters<'_>, dpop: Option<&DpopChallenge>) -> [Option<String>; 2] {
    if parameters.kind == Challenge::None {
        return [None, None];
    }
    let Some(dpop) = dpop else { return [Some(parameters.bearer(true)), None] };
    let is_dpop = dpop.used == Scheme::Dpop;
    let own = parameters.dpop(dpop, is_dpop || !dpop.beside_bearer);
    match (dpop.beside_bearer, is_dpop) {
        (false, _) => [Some(own), None],
        (true, true) => [Some(own), Some(parameters.bearer(false))],
        (true, false) => [Some(parameters.bearer(true)), Some(own)],
    }
}

impl Parameters<'_> {
    /// `is_used`: whether this is the challenge that tells what is wrong.
    fn bearer(&self, is_used: bool) -> String {
        let mut challenge = String::with_capacity(128);
        challenge.push_str("Bearer");
        push_parameter(&mut challenge, " realm", self.realm);
        self.push_error(&mut challenge, Scheme::Bearer, is_used);
        challenge
    }

    fn dpop(&self, dpop: &DpopChallenge, is_used: bool) -> String {
        let mut challenge = String::with_capacity(128);
        challenge.push_str("DPoP");
        push_parameter(&mut challenge, " algs", &dpop.algs);
        push_parameter(&mut challenge, ", realm", self.realm);
        self.push_error(&mut challenge, dpop.used, is_used);
        challenge
    }

    fn push_error(&self, challenge: &mut String, used: Scheme, is_used: bool) {
        let (error, is_described) = match (self.kind, used) {
            _ if !is_used => ("", false),
            (Challenge::None | Challenge::Realm | Challenge::Scope, _) => ("", false),
            (Challenge::InvalidRequest, _) => ("invalid_request", false),
            (Challenge::InsufficientScope, _) => ("insufficient_scope", false),
            (Challenge::InvalidProof, Scheme::Dpop) => ("invalid_dpop_proof", true),
            (Challenge::UseNonce, Scheme::Dpop) => ("use_dpop_nonce", true),
            (Challenge::InvalidToken | Challenge::InvalidProof | Challenge::UseNonce, _) => {
                ("invalid_token", true)
            }
        };
        if !error.is_empty() {
            push_parameter(challenge, ", error", error);
        }
        if is_described {
            push_parameter(challenge, ", error_description", self.description);
        }
        let asks = self.kind == Challenge::Scope || (is_used && self.kind == Challenge::InsufficientScope);
        if let Some(scope) = self.scope.filter(|_| asks) {
            push_parameter(challenge, ", scope", scope);
        }
    }
}

/// Adds a parameter of a challenge, its value as a quoted-string (RFC 9110 section 5.6.4).
fn push_parameter(challenge: &mut String, name: &str, value: &str) {
    challenge.push_str(name);
    challenge.push_str("=\"");
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            challenge.push('\\');
        }
        challenge.push(c);
    }
    challenge.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_challenge_is_that_of_the_scheme_that_was_used() {
        use Challenge::*;
        const BEARER: &str = "Bearer realm=\"r\"";
        const DPOP: &str = "DPoP algs=\"ES256 EdDSA\", realm=\"r\"";
        const TOKEN: &str = ", error=\"invalid_token\", error_description=\"d\"";
        let told = |error: &str| format!(", error=\"{error}\", error_description=\"d\"");
        for (kind, used, beside_bearer, expected) in [
            // No token.
            (
                Scope,
                Scheme::Bearer,
                true,
                vec![format!("{BEARER}, scope=\"a\""), format!("{DPOP}, scope=\"a\"")],
            ),
            (Scope, Scheme::Bearer, false, vec![format!("{DPOP}, scope=\"a\"")]),
            (InvalidToken, Scheme::Bearer, true, vec![format!("{BEARER}{TOKEN}"), DPOP.to_owned()]),
            (InvalidToken, Scheme::Dpop, true, vec![format!("{DPOP}{TOKEN}"), BEARER.to_owned()]),
            (InvalidToken, Scheme::Dpop, false, vec![format!("{DPOP}{TOKEN}")]),
            // A bound token as Bearer.
            (InvalidProof, Scheme::Bearer, true, vec![format!("{BEARER}{TOKEN}"), DPOP.to_owned()]),
            (InvalidProof, Scheme::Bearer, false, vec![format!("{DPOP}{TOKEN}")]),
            (
                InvalidProof,
                Scheme::Dpop,
                true,
                vec![format!("{DPOP}{}", told("invalid_dpop_proof")), BEARER.to_owned()],
            ),
            (UseNonce, Scheme::Dpop, false, vec![format!("{DPOP}{}", told("use_dpop_nonce"))]),
            (
                InsufficientScope,
                Scheme::Dpop,
                true,
                vec![format!("{DPOP}, error=\"insufficient_scope\", scope=\"a\""), BEARER.to_owned()],
            ),
            (Realm, Scheme::Dpop, true, vec![DPOP.to_owned(), BEARER.to_owned()]),
            (None, Scheme::Dpop, true, vec![]),
        ] {
            let parameters = Parameters { kind, realm: "r", scope: Some("a"), description: "d" };
            let algs = "ES256 EdDSA".to_owned();
            let dpop = DpopChallenge { algs, used, beside_bearer, nonce: Option::None };
            let found: Vec<_> = challenges(&parameters, Some(&dpop)).into_iter().flatten().collect();
            assert_eq!(found, expected, "{kind:?} {used:?} {beside_bearer}");
        }
    }
}
