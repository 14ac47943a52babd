//! The steps themselves.

use super::Walker;
use super::forge::Forger;
use super::mcp;
use super::prover::Prover;
use super::step::Step;
use crate::client::Request;
use crate::idp::flip_bit;
use serde_json::json;

/// What the client is told of every token whose signature does not hold.
const REJECTED: &[&str] = &["token_rejected"];
const READ: (&str, &str) = ("scope", "orders:read");
const WRITE: (&str, &str) = ("scope", "orders:read orders:write");

/// Takes every step, in order.
pub(super) fn all(walk: &mut Walker<'_>) -> Result<(), String> {
    walk.title("Who gets in");
    entry(walk)?;
    walk.title("Invalid tokens");
    forgeries(walk)?;
    walk.title("Tokens for another purpose");
    claims(walk)?;
    walk.title("Scopes");
    scopes(walk)?;
    walk.title("Spoofed identity and ambiguous requests");
    tricks(walk)?;
    walk.title("Key rotation");
    rotation(walk)?;
    walk.title("Revocation");
    revocation(walk)?;
    walk.title("Opaque tokens");
    opaque(walk)?;
    walk.title("Bound tokens");
    bound(walk)?;
    let Some(addr) = walk.target.mcp else { return Ok(()) };
    walk.title("Discovery by OAuth and MCP clients");
    mcp::all(walk, addr)
}

fn get(target: &'static str, with: &'static str) -> Step {
    Step::new("GET", target, with)
}

fn entry(walk: &mut Walker<'_>) -> Result<(), String> {
    let token = walk.token(&[READ])?;
    walk.take(get("/healthz", "no token").passes("the rule for /healthz is public"))?;
    walk.take(
        get("/orders/7", "no token")
            .refused(401, &["token_missing"], "/orders/** asks for a token")
            .challenge(&["Bearer realm=", "scope=\"orders:read\""]),
    )?;
    walk.take(
        get("/orders/7", "a good token")
            .bearer(&token)
            .passes("the upstream sees x-user: alice, no Authorization")
            .upstream_saw("x-user", &["alice"])
            .upstream_saw("authorization", &[]),
    )?;
    let elliptic = walk.token(&[READ, ("alg", "ES256")])?;
    walk.take(
        get("/orders/7", "a token signed with ES256")
            .bearer(&elliptic)
            .passes("the algorithm is on the provider's list")
            .upstream_saw("x-user", &["alice"]),
    )
}

fn forgeries(walk: &mut Walker<'_>) -> Result<(), String> {
    let token = walk.token(&[READ])?;
    let forger = Forger::new(&token).ok_or("the identity provider's token is none")?;
    let jwks = walk.provider(&Request::get("/jwks.json"))?;
    let confused = forger.confused(&jwks).ok_or("the identity provider does not sign with an RSA key")?;
    let foreign = forger.own_key().ok_or("the identity provider signs with an unknown algorithm")?;

    let forged = |with, token: &str, logged, why| {
        get("/orders/7", with)
            .bearer(token)
            .refused_as(401, REJECTED, logged, why)
            .challenge(&["error=\"invalid_token\""])
    };
    walk.take(forged(
        "one bit of it flipped",
        &flip_bit(&token),
        "signature_invalid",
        "the signature does not hold",
    ))?;
    walk.take(forged(
        "another key, same kid",
        &foreign,
        "signature_invalid",
        "only the provider's keys count",
    ))?;
    walk.take(forged(
        "alg: none, no signature",
        &forger.unsigned(),
        "algorithm_not_allowed",
        "no signature is no token",
    ))?;
    walk.take(forged(
        "HS256, the public key as secret",
        &confused,
        "algorithm_not_allowed",
        "a public key is no secret",
    ))?;
    walk.take(
        get("/orders/7", "no JWT at all")
            .bearer("opaque")
            .refused(401, &["token_malformed"], "not three parts of base64url")
            .challenge(&["error=\"invalid_token\""]),
    )
}

fn claims(walk: &mut Walker<'_>) -> Result<(), String> {
    // Further past than any clock skew that can be configured.
    let expired = walk.token(&[READ, ("ttl", "-600")])?;
    let issuer = walk.token(&[READ, ("iss", "https://elsewhere.example")])?;
    let audience = walk.token(&[READ, ("aud", "billing")])?;
    walk.take(
        get("/orders/7", "expired ten minutes ago")
            .bearer(&expired)
            .refused(401, &["expired"], "its exp has passed")
            .challenge(&["error=\"invalid_token\""]),
    )?;
    // Whether these are found out before the signature or after it decides what the client is told.
    walk.take(
        get("/orders/7", "from another issuer")
            .bearer(&issuer)
            .refused_as(
                401,
                &["token_rejected", "issuer_unknown"],
                "issuer_unknown",
                "its iss is not the provider's",
            )
            .challenge(&["error=\"invalid_token\""]),
    )?;
    walk.take(
        get("/orders/7", "for another audience")
            .bearer(&audience)
            .refused_as(
                401,
                &["token_rejected", "audience_mismatch"],
                "audience_mismatch",
                "its aud is billing, not orders",
            )
            .challenge(&["error=\"invalid_token\""]),
    )
}

fn scopes(walk: &mut Walker<'_>) -> Result<(), String> {
    let none = walk.token(&[])?;
    let read = walk.token(&[READ])?;
    let write = walk.token(&[WRITE])?;
    walk.take(
        get("/orders/7", "a token without scopes")
            .bearer(&none)
            .refused(403, &["scope_insufficient"], "GET asks for orders:read")
            .challenge(&["error=\"insufficient_scope\"", "scope=\"orders:read\""]),
    )?;
    walk.take(
        Step::new("POST", "/orders", "a token for reading")
            .bearer(&read)
            .refused(403, &["scope_insufficient"], "POST asks for orders:write")
            .challenge(&["error=\"insufficient_scope\"", "scope=\"orders:write\""]),
    )?;
    walk.take(
        Step::new("POST", "/orders", "a token for writing").bearer(&write).passes("it holds orders:write"),
    )?;
    walk.take(
        get("/tenants/acme/orders/7", "a token for reading")
            .bearer(&read)
            .passes("the rule: /tenants/{tenant}/orders/**"),
    )?;
    walk.take(get("/me", "a token without scopes").bearer(&none).passes("/me asks for a token and no scope"))
}

fn tricks(walk: &mut Walker<'_>) -> Result<(), String> {
    let token = walk.token(&[READ])?;
    walk.take(
        get("/orders/7", "a token and x-user: mallory")
            .bearer(&token)
            .header("x-user", "mallory")
            .header("X_User", "mallory")
            .passes("the upstream sees x-user: alice alone")
            .upstream_saw("x-user", &["alice"]),
    )?;
    walk.take(
        get("/healthz", "no token, and x-user: mallory")
            .header("X-User", "mallory")
            .header("x_user", "mallory")
            .passes("the upstream sees none, here as well")
            .upstream_saw("x-user", &[]),
    )?;
    walk.take(
        get("/orders/7", "two Authorization fields")
            .bearer(&token)
            .bearer(&token)
            .refused(400, &["token_multiple"], "which of them would count?")
            .challenge(&["error=\"invalid_request\""]),
    )?;
    walk.take(get("/healthz%252F..%252Forders", "a slash in disguise").bearer(&token).refused(
        400,
        &["path_ambiguous"],
        "the upstream may read it otherwise",
    ))?;
    walk.take(get("/admin", "a good token").bearer(&token).refused(
        403,
        &["route_unmatched"],
        "no rule is for it (unmatched: deny)",
    ))
}

fn rotation(walk: &mut Walker<'_>) -> Result<(), String> {
    let before = walk.token(&[READ])?;
    walk.rotate(false)?;
    let after = walk.token(&[READ])?;
    walk.take(
        get("/orders/7", "a token of a brand-new key")
            .bearer(&after)
            .passes("an unknown kid has the keys fetched anew")
            .upstream_saw("x-user", &["alice"]),
    )?;
    walk.take(
        get("/orders/7", "a token of the key before").bearer(&before).passes("that key is still published"),
    )?;
    walk.rotate(true)?;
    let last = walk.token(&[READ])?;
    walk.take(
        get("/orders/7", "a token of the next new key")
            .bearer(&last)
            .passes("the old keys are no longer published"),
    )?;
    walk.take(
        get("/orders/7", "a token of a removed key")
            .bearer(&before)
            .refused_as(401, REJECTED, "key_not_found", "the provider vouches for it no more")
            .challenge(&["error=\"invalid_token\""]),
    )
}

fn revocation(walk: &mut Walker<'_>) -> Result<(), String> {
    let token = walk.token(&[READ])?;
    let other = walk.token(&[READ])?;
    walk.take(
        get("/orders/7", "a token")
            .bearer(&token)
            .passes("it is not revoked")
            .upstream_saw("x-user", &["alice"]),
    )?;
    walk.revoke(&token, "/me")?;
    walk.take(
        get("/orders/7", "the same token, revoked meanwhile")
            .bearer(&token)
            .refused(401, &["revoked"], "it is on the provider's list")
            .challenge(&["error=\"invalid_token\""]),
    )?;
    walk.take(
        get("/orders/7", "another token of the same person")
            .bearer(&other)
            .passes("only the other one was revoked")
            .upstream_saw("x-user", &["alice"]),
    )
}

fn opaque(walk: &mut Walker<'_>) -> Result<(), String> {
    let token = walk.token(&[("token_format", "opaque")])?;
    walk.take(
        get("/opaque", "an opaque token")
            .bearer(&token)
            .passes("the provider was asked: it is active, and alice's")
            .upstream_saw("x-user", &["alice"]),
    )?;
    walk.revoke(&token, "/opaque")?;
    walk.take(
        get("/opaque", "the same token, revoked meanwhile")
            .bearer(&token)
            .refused(401, &["token_inactive"], "an answer counts for a second here")
            .challenge(&["error=\"invalid_token\""]),
    )?;
    walk.take(
        get("/opaque", "an opaque token that nobody issued")
            .bearer("demo_at_nobody-ever-issued-this-one")
            .refused(401, &["token_inactive"], "the provider does not know it")
            .challenge(&["error=\"invalid_token\""]),
    )
}

fn bound(walk: &mut Walker<'_>) -> Result<(), String> {
    // As the client writes it, whatever the gateway's address is.
    const URI: &str = "https://gateway.example/orders/7";
    let (mut client, mut thief) = (Prover::new(), Prover::new());
    let token = walk.bound_token(&client.confirmation())?;
    let with = |with, proof: &str| {
        get("/orders/7", with).header("authorization", &format!("DPoP {token}")).header("dpop", proof)
    };
    let proof = client.proof("GET", URI, &token);
    walk.take(
        with("a bound token and a proof", &proof)
            .passes("the client has shown its key (DPoP)")
            .upstream_saw("x-user", &["alice"])
            .upstream_saw("dpop", &[]),
    )?;
    walk.take(
        with("the same proof again", &proof)
            .refused(401, &["proof_replayed"], "each proof is for one request")
            .challenge(&["DPoP algs=", "error=\"invalid_dpop_proof\""]),
    )?;
    walk.take(
        get("/orders/7", "the token alone, stolen")
            .bearer(&token)
            .refused(401, &["proof_missing"], "it is no bearer token")
            .challenge(&["Bearer realm=", "error=\"invalid_token\""]),
    )?;
    walk.take(
        with("the token, and a proof of the thief's", &thief.proof("GET", URI, &token))
            .refused(401, &["proof_invalid"], "the token names another key")
            .challenge(&["error=\"invalid_dpop_proof\""]),
    )?;
    let certificate =
        walk.bound_token(&json!({ "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" }))?;
    walk.take(
        get("/orders/7", "a token bound to a certificate")
            .bearer(&certificate)
            .refused(401, &["certificate_mismatch"], "it came without that certificate")
            .challenge(&["error=\"invalid_token\""]),
    )
}
