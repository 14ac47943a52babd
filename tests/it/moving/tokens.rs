//! The tokens of all requests.

use std::collections::BTreeMap;

use harness::idp::{flip_bit, now};
use harness::{Alg, Key, TokenBuilder};
use serde_json::{Value, json};

/// The issuer of nearly all, as the pages have it.
pub const CORP: &str = "https://idp.example/";
/// Another one that is trusted.
pub const PARTNER: &str = "https://partner.example";

/// The key of an issuer.
pub fn key(issuer: &str) -> Key {
    let host = issuer.trim_start_matches("https://").trim_end_matches('/');
    Key::cached(Alg::ES256, host)
}

/// A token, and what a reader without keys knows of it.
pub struct Token {
    pub name: &'static str,
    pub text: String,
    /// None where it is no JWT that the key of its issuer has signed.
    pub claims: Option<Value>,
    /// The rows of the pages' tables that it may show.
    pub traits: Vec<&'static str>,
}

/// Every token, by its text.
pub type Tokens = BTreeMap<String, Token>;

fn corp() -> TokenBuilder {
    TokenBuilder::new(&key(CORP), CORP, "orders")
}

fn partner() -> TokenBuilder {
    TokenBuilder::new(&key(PARTNER), PARTNER, "orders")
}

/// Every token that the key of its issuer has signed, with what it may show.
fn signed() -> Vec<(&'static str, TokenBuilder, &'static [&'static str])> {
    let with = |claims: Value| corp().claims(claims);
    vec![
        ("good", corp(), &[]),
        ("expired", corp().expires_in(-500), &[]),
        ("early", corp().claim("nbf", now() + 500), &[]),
        ("for billing", corp().claim("aud", "billing"), &[]),
        ("for several", corp().claim("aud", json!(["billing", "orders"])), &[]),
        ("for nobody", corp().without("aud"), &[]),
        ("audience as a URL", corp().claim("aud", "https://orders/"), &[]),
        ("of another subject", corp().claim("sub", "bob"), &[]),
        ("of a service", corp().claim("sub", "svc-batch"), &[]),
        ("of a team", corp().claim("sub", "team/alice"), &["slash_subject"]),
        ("without subject", corp().without("sub"), &["no_subject"]),
        ("with an empty subject", corp().claim("sub", ""), &["no_subject"]),
        ("subject as a number", corp().claim("sub", 5), &[]),
        ("admin", with(json!({ "groups": "admin", "role": "admin" })), &["single_for_list"]),
        ("admin of several", with(json!({ "groups": ["sales", "admin"], "role": ["admin", "user"] })), &[]),
        ("viewer", with(json!({ "groups": ["viewer"], "role": "viewer" })), &[]),
        (
            "engineer",
            with(json!({ "groups": ["eng-core"], "team": "eng-core", "email": "a@corp.example" })),
            &[],
        ),
        ("stranger's mail", with(json!({ "groups": [], "team": "", "email": "a@corp.example.org" })), &[]),
        ("realm admin", with(json!({ "realm_access": { "roles": ["admin", "ops"] } })), &[]),
        ("realm user", with(json!({ "realm_access": { "roles": ["user"] } })), &[]),
        (
            "blocked",
            with(
                json!({ "status": "blocked", "groups": ["admin"], "role": "admin", "scope": "orders:read" }),
            ),
            &[],
        ),
        ("active", with(json!({ "status": "active", "groups": ["admin"], "role": "admin" })), &[]),
        ("several states", with(json!({ "status": ["active", "blocked"], "groups": ["admin"] })), &[]),
        (
            "booleans",
            with(json!({ "email_verified": true, "groups": [true, 1], "status": false, "team": 7 })),
            &[],
        ),
        ("verified as text", with(json!({ "email_verified": "true" })), &[]),
        (
            "odd list",
            with(json!({ "groups": ["admin", { "a": 1 }], "status": [null, "active"] })),
            &["odd_value"],
        ),
        ("odd object", with(json!({ "groups": ["admin"], "status": { "blocked": true } })), &["odd_value"]),
        ("nulls", with(json!({ "groups": null, "status": null, "team": null })), &[]),
        ("reader", with(json!({ "scope": "orders:read" })), &[]),
        ("writer", with(json!({ "scope": "openid orders:write orders:read" })), &[]),
        ("scopes in a list", with(json!({ "scope": ["orders:read", "orders:write"] })), &[]),
        ("scopes in scp", with(json!({ "scp": ["orders:read"] })), &[]),
        ("scopes in scp as a text", with(json!({ "scp": "orders:write orders:read" })), &[]),
        ("a longer scope", with(json!({ "scope": "orders:readonly" })), &[]),
        ("no scope", with(json!({ "scope": "" })), &[]),
        ("scope of another form", with(json!({ "scope": { "orders:read": true } })), &["scope_form"]),
        ("permissions", with(json!({ "permission": "orders.cancel orders.view" })), &[]),
        ("one permission", with(json!({ "permission": ["orders.view"] })), &[]),
        ("tenant", with(json!({ "org": { "tenant": "acme" } })), &[]),
        ("tenants", with(json!({ "org": { "tenant": ["acme"] } })), &[]),
        ("dotted claim", with(json!({ "org.tenant": "acme", "https://corp.example/level": "gold" })), &[]),
        ("of the web app", corp().claim("azp", "web-app"), &[]),
        ("of another app", corp().claim("azp", "batch"), &[]),
        ("without end", corp().without("exp"), &["no_expiry"]),
        ("issued later", corp().claim("iat", now() + 500), &["issued_later"]),
        ("of another kind", corp().header("typ", "logout+jwt"), &["kind"]),
        ("bound", corp().claim("cnf", json!({ "jkt": "x" })), &["bound"]),
        ("partner's", partner(), &[]),
        ("partner's bob", partner().claim("sub", "bob"), &[]),
        (
            "partner's admin",
            partner().claims(json!({ "groups": ["admin"], "role": "admin", "scope": "orders:read" })),
            &[],
        ),
        ("partner's for billing", partner().claim("aud", "billing"), &[]),
        (
            "elsewhere's",
            TokenBuilder::new(&key("https://elsewhere.example"), "https://elsewhere.example", "orders"),
            &[],
        ),
        ("issuer without its slash", corp().claim("iss", "https://idp.example"), &[]),
    ]
}

/// All of them.
pub fn tokens() -> Tokens {
    let mut all = Vec::new();
    for (name, builder, traits) in signed() {
        let claims = Some(builder.payload());
        all.push(Token { name, text: builder.sign(), claims, traits: traits.to_vec() });
    }
    let strange = corp().key(&key(PARTNER)).kid(key(CORP).kid());
    for (name, text) in [
        ("forged", flip_bit(&corp().sign())),
        ("by a stranger", strange.sign()),
        ("unsigned", corp().unsigned()),
        ("no JWT", "opaque".to_owned()),
        ("no JWT of three parts", "a.b.c".to_owned()),
    ] {
        all.push(Token { name, text, claims: None, traits: Vec::new() });
    }
    all.into_iter().map(|token| (token.text.clone(), token)).collect()
}

/// The token of this name.
#[track_caller]
pub fn named<'t>(tokens: &'t Tokens, name: &str) -> &'t Token {
    tokens.values().find(|token| token.name == name).unwrap_or_else(|| panic!("no token is called {name:?}"))
}
