//! `WWW-Authenticate` (RFC 9110 section 11.6.1): the challenges of a refusal, one a field. Some clients read the first
//! alone, so that it is the one of the scheme that was used.

use crate::reason::Challenge;
use crate::rules::StepUp;
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
    pub(super) step_up: Option<&'r StepUp>,
    pub(super) resource_metadata: Option<&'r str>,
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
            (Challenge::StepUp, _) => ("insufficient_user_authentication", true),
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
        if let Some(step_up) = self.step_up.filter(|_| is_used && self.kind == Challenge::StepUp) {
            push_step_up(challenge, step_up);
        }
        if let Some(scope) = self.scope.filter(|_| self.asks_for_scopes(is_used)) {
            push_parameter(challenge, ", scope", scope);
        }
        if let Some(url) = self.resource_metadata {
            push_parameter(challenge, ", resource_metadata", url);
        }
    }

    /// Whether a challenge says which scopes to ask for. Clients that find their way by metadata log in again after
    /// `invalid_token`, and would otherwise ask for every scope that there is.
    fn asks_for_scopes(&self, is_used: bool) -> bool {
        match self.kind {
            Challenge::Scope => true,
            Challenge::InsufficientScope | Challenge::StepUp => is_used,
            Challenge::InvalidToken | Challenge::InvalidProof | Challenge::UseNonce => {
                self.resource_metadata.is_some()
            }
            Challenge::None | Challenge::Realm | Challenge::InvalidRequest => false,
        }
    }
}

/// Adds how the user is to log in (RFC 9470 section 3).
fn push_step_up(challenge: &mut String, step_up: &StepUp) {
    if !step_up.acr_values.is_empty() {
        push_parameter(challenge, ", acr_values", &step_up.acr_values.join(" "));
    }
    if let Some(seconds) = step_up.max_age {
        push_parameter(challenge, ", max_age", &seconds.to_string());
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
            let parameters = Parameters {
                kind,
                realm: "r",
                scope: Some("a"),
                description: "d",
                step_up: Option::None,
                resource_metadata: Option::None,
            };
            let algs = "ES256 EdDSA".to_owned();
            let dpop = DpopChallenge { algs, used, beside_bearer, nonce: Option::None };
            let found: Vec<_> = challenges(&parameters, Some(&dpop)).into_iter().flatten().collect();
            assert_eq!(found, expected, "{kind:?} {used:?} {beside_bearer}");
        }
    }

    #[test]
    fn each_of_two_challenges_names_the_metadata_and_the_first_how_to_log_in() {
        let step_up = StepUp { acr_values: vec!["phr".to_owned()], max_age: Some(60) };
        let of = |kind, used| {
            let parameters = Parameters {
                kind,
                realm: "r",
                scope: Some("a"),
                description: "d",
                step_up: Some(&step_up),
                resource_metadata: Some("https://a/b"),
            };
            let algs = "ES256".to_owned();
            let dpop = DpopChallenge { algs, used, beside_bearer: true, nonce: None };
            challenges(&parameters, Some(&dpop))
        };
        let url = "resource_metadata=\"https://a/b\"";
        let (bearer, dpop) = ("Bearer realm=\"r\"", "DPoP algs=\"ES256\", realm=\"r\"");
        let told = |error: &str| format!(", error=\"{error}\", error_description=\"d\"");
        let [invalid, step] = ["invalid_token", "insufficient_user_authentication"].map(told);
        for (kind, used, expected) in [
            (
                Challenge::InvalidToken,
                Scheme::Bearer,
                [format!("{bearer}{invalid}, scope=\"a\", {url}"), format!("{dpop}, scope=\"a\", {url}")],
            ),
            (
                Challenge::StepUp,
                Scheme::Dpop,
                [
                    format!("{dpop}{step}, acr_values=\"phr\", max_age=\"60\", scope=\"a\", {url}"),
                    format!("{bearer}, {url}"),
                ],
            ),
            (Challenge::Realm, Scheme::Bearer, [format!("{bearer}, {url}"), format!("{dpop}, {url}")]),
        ] {
            assert_eq!(of(kind, used), expected.map(Some), "{kind:?}");
        }
    }
}
