//! Tokens and key sets as identity providers make them.

use std::collections::BTreeSet;

use harness::idp::flip_bit;
use portcullis::{Claims, Json, Jws, Keys, Provider, Reason};
use serde_json::{Value, json};

use crate::made::{self, Folder, Root};
use crate::vectors::judge::{self, text};

/// What there is to know of a provider besides its `meta.json`.
struct Vendor {
    folder: &'static str,
    /// The audience, where `accept_aud` does not say it: the claim that holds it, and its value.
    audience: Option<(&'static str, &'static str)>,
    /// More fields of the provider's configuration.
    more: &'static str,
}

const fn vendor(folder: &'static str) -> Vendor {
    Vendor { folder, audience: None, more: "{}" }
}

const VENDORS: &[Vendor] = &[
    vendor("auth0"),
    Vendor { more: r#"{"token_types":["at+jwt"]}"#, ..vendor("auth0-rfc9068") },
    Vendor { audience: Some(("azp", "https://app.example.com")), ..vendor("clerk") },
    vendor("cloudflare-access"),
    Vendor { audience: Some(("client_id", "57cbishk4j24pabc1234567890")), ..vendor("cognito-access") },
    vendor("cognito-id"),
    vendor("dex"),
    vendor("entra-v1"),
    vendor("entra-v2"),
    vendor("entra-v2-app-only"),
    vendor("firebase"),
    Vendor {
        more: r#"{"subjects":{"prefix":"repo:octo-org/"},"required_claims":["sub","jti"]}"#,
        ..vendor("github-actions")
    },
    vendor("gitlab-ci"),
    Vendor { more: GOOGLE, ..vendor("google-id-token") },
    Vendor { more: GOOGLE, ..vendor("google-service-account-id-token") },
    Vendor {
        audience: Some(("aud", "https://orders.example.com")),
        ..vendor("google-service-account-self-signed")
    },
    vendor("keycloak"),
    Vendor { audience: Some(("azp", "svc-a")), ..vendor("keycloak-client-credentials") },
    vendor("kubernetes-sa"),
    vendor("okta"),
    vendor("pingone"),
    vendor("supabase"),
];

/// Two spellings of one issuer.
const GOOGLE: &str = r#"{"issuer":["https://accounts.google.com","accounts.google.com"]}"#;

/// Folders that are laid out in another way, each with a test of its own below.
const OTHERS: &[&str] = &["aws-verified-access", "emu-moto-cognito", "real-glewlwyd"];

const ELSEWHERE: &str = "https://elsewhere.example/";

pub(super) fn provider(fields: &Value, keys: &str, format: &str) -> std::rc::Rc<Provider> {
    let mut fields = fields.clone();
    fields["local_jwks"] = json!({ "inline_string": keys, "format": format });
    judge::provider(&fields)
}

pub(super) fn judged(what: &str, provider: &Provider, token: &str, now: u64) -> Result<(), Reason> {
    let Keys::Local(keys) = &provider.keys else { panic!("{what}: keys that are not local") };
    judge::by_both(what, |backend| judge::accepted(token.as_bytes(), keys, &provider.policy, now, backend))
}

/// The token passes, and it does not with another issuer or audience, with a bit of its signature
/// turned, or when its time is over.
fn holds(what: &str, fields: &Value, keys: &str, format: &str, token: &str, now: u64) {
    let with = |name: &str, value: Value| {
        let mut fields = fields.clone();
        fields[name] = value;
        provider(&fields, keys, format)
    };
    let own = provider(fields, keys, format);
    assert_eq!(judged(what, &own, token, now), Ok(()), "{what}");
    assert_eq!(
        judged(what, &own, &flip_bit(token), now),
        Err(Reason::SignatureInvalid),
        "{what}, a bit turned"
    );
    let late = judged(what, &own, token, 4_000_000_000);
    assert_eq!(late, Err(Reason::Expired), "{what}, too late");
    let other = with("issuer", json!(ELSEWHERE));
    assert_eq!(judged(what, &other, token, now), Err(Reason::IssuerUnknown), "{what}, another issuer");
    let other = with("audiences", json!([ELSEWHERE]));
    assert_eq!(judged(what, &other, token, now), Err(Reason::AudienceMismatch), "{what}, another audience");
}

#[test]
pub(crate) fn the_tokens_of_every_provider_are_judged_right() {
    let known = VENDORS.iter().map(|vendor| vendor.folder).chain(OTHERS.iter().copied());
    let known: BTreeSet<_> = known.map(str::to_owned).collect();
    for root in made::idp() {
        assert_eq!(root.names(), known, "every folder has its place in this file");
        for vendor in VENDORS {
            one(&root.folder(vendor.folder), vendor);
        }
    }
    println!("{} providers, and {} of other layouts", VENDORS.len(), OTHERS.len());
}

fn one(folder: &Folder, vendor: &Vendor) {
    let what = vendor.folder;
    let meta = folder.document("meta.json");
    let now = meta["verify_at"].as_u64().expect("verify_at");
    let token = folder.text("token.jwt");
    let token = token.trim_end();
    let (claim, audience) = match vendor.audience {
        Some(audience) => audience,
        None => {
            ("aud", meta["expect"]["accept_aud"].as_str().unwrap_or_else(|| panic!("{what}: an audience")))
        }
    };
    let mut fields = json!({ "issuer": meta["issuer"], "audiences": [audience], "audience_claims": [claim] });
    let more: Value = serde_json::from_str(vendor.more).expect("fields in JSON");
    for (name, value) in more.as_object().expect("an object of fields") {
        fields[name] = value.clone();
    }
    holds(what, &fields, &folder.text("jwks.json"), "auto", token, now);
    // The same keys as certificates.
    if folder.has("x509_map.json") {
        let certificates = folder.text("x509_map.json");
        holds(&format!("{what} x509"), &fields, &certificates, "pem_map", token, now);
    }
    let grants = provider(&fields, &folder.text("jwks.json"), "auto").policy.grants.clone();
    let payload = Jws::parse(token.as_bytes()).and_then(|jws| jws.payload()).expect(what);
    let Ok(Json::Object(all)) = portcullis::parse_json(&payload) else { panic!("{what}: no claims") };
    let claimed = Claims::new(all, &grants).expect(what);
    if let Some(scopes) = meta["expect"]["scopes"].as_array() {
        let scopes: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
        assert_eq!(claimed.scopes, scopes, "{what}");
    }
    let claims = folder.document("claims.json");
    assert_eq!(claimed.subject.as_deref(), claims["sub"].as_str(), "{what}");
}

/// Microsoft's issuer names the tenant, which must be the one of the claim `tid`.
#[test]
pub(crate) fn a_tenant_in_the_issuer_is_the_tenant_of_the_token() {
    for root in made::idp() {
        a_tenant_is_the_issuers(&root.folder("entra-v2"));
    }
}

fn a_tenant_is_the_issuers(folder: &Folder) {
    const TEST: &str = "a tenant";
    let meta = folder.document("meta.json");
    let template = text(&meta, "issuer_template").replace("{tenantid}", "{tid}");
    let token = folder.text("token.jwt");
    let keys = folder.text("jwks.json");
    let now = meta["verify_at"].as_u64().expect("verify_at");
    for (issuer, tenants, expected) in [
        (
            template.as_str(),
            json!({ "issuer_claims": { "tid": ["72f988bf-86f1-41af-91ab-2d7cd011db47"] } }),
            Ok(()),
        ),
        (&template, json!({ "any_tenant": true }), Ok(())),
        (&template, json!({ "issuer_claims": { "tid": ["another"] } }), Err(Reason::IssuerUnknown)),
        (
            "https://login.microsoftonline.com/{oid}/v2.0",
            json!({ "any_tenant": true }),
            Err(Reason::IssuerUnknown),
        ),
    ] {
        let mut fields = tenants.clone();
        fields["issuer"] = json!(issuer);
        let got = judged(TEST, &provider(&fields, &keys, "auto"), token.trim_end(), now);
        assert_eq!(got, expected, "{issuer} {tenants}");
    }
}

/// An ID token is no access token, where the issuer marks its access tokens (C14); a token for
/// another kind of client has another audience.
#[test]
pub(crate) fn c14_the_token_of_another_purpose_is_refused() {
    for root in made::idp() {
        other_purposes_are_refused(&root);
    }
}

fn other_purposes_are_refused(root: &Root) {
    let judged = |name: &str, more: Value| {
        let folder = root.folder(name);
        let (meta, keys, token) =
            (folder.document("meta.json"), folder.text("jwks.json"), folder.text("token.jwt"));
        let now = meta["verify_at"].as_u64().expect("verify_at");
        judged(name, &provider(&more, &keys, "auto"), token.trim_end(), now)
    };
    for (name, fields, expected) in [
        ("auth0", json!({ "token_types": ["at+jwt"] }), Reason::TypeNotAllowed),
        ("google-id-token", json!({ "token_types": ["at+jwt"] }), Reason::TypeNotAllowed),
        ("dex", json!({ "token_types": ["at+jwt"] }), Reason::TypeNotAllowed),
        ("cognito-id", json!({ "required_claims": ["client_id"] }), Reason::ClaimMissing),
        (
            "cognito-id",
            json!({ "audiences": ["57cbishk4j24pabc1234567890"], "audience_claims": ["client_id", "aud"] }),
            Reason::AudienceMismatch,
        ),
        ("cognito-access", json!({ "audiences": ["57cbishk4j24pabc1234567890"] }), Reason::AudienceMismatch),
        ("keycloak-client-credentials", json!({ "audiences": ["orders-api"] }), Reason::AudienceMismatch),
        ("firebase", json!({ "audiences": ["my-project"] }), Reason::AudienceMismatch),
    ] {
        assert_eq!(judged(name, fields.clone()), Err(expected), "{name} {fields}");
    }
}

/// Amazon's token for verified access has its issuer and its end in the header; a header is no claims
/// set (RFC 7519 section 5.3 lets claims be repeated there, not live there). Its key is a single PEM.
#[test]
pub(crate) fn a_key_in_pem_under_its_kid_verifies() {
    for root in made::idp() {
        the_key_of_verified_access_verifies(&root.folder("aws-verified-access"));
    }
}

fn the_key_of_verified_access_verifies(folder: &Folder) {
    let test = "a key in PEM";
    let meta = folder.document("meta.json");
    let header = folder.document("header.json");
    let pem = folder.text("public_key.pem");
    let keys = json!({ text(&header, "kid"): pem }).to_string();
    let token = folder.text("token.jwt");
    let token = token.trim_end();
    let now = meta["verify_at"].as_u64().expect("verify_at");
    let judged = |fields: Value, token: &str| judged(test, &provider(&fields, &keys, "pem_map"), token, now);
    let lenient = || json!({ "require_expiration": false, "required_claims": ["sub", "iat"] });
    assert_eq!(judged(lenient(), token), Ok(()));
    assert_eq!(judged(lenient(), &flip_bit(token)), Err(Reason::SignatureInvalid));
    assert_eq!(judged(json!({}), token), Err(Reason::ExpirationMissing));
    let mut fields = lenient();
    fields["issuer"] = meta["issuer"].clone();
    assert_eq!(judged(fields, token), Err(Reason::IssuerUnknown));
    let mut fields = lenient();
    fields["audiences"] = json!([ELSEWHERE]);
    assert_eq!(judged(fields, token), Err(Reason::AudienceMismatch));
    // Another kid in the map: there is no key of the token's, and none without a name.
    let other = json!({ "other": pem }).to_string();
    let got = crate::vectors::providers::judged(test, &provider(&lenient(), &other, "pem_map"), token, now);
    assert_eq!(got, Err(Reason::KeyNotFound));
}

#[test]
pub(crate) fn the_tokens_of_an_emulator_are_judged_right() {
    for root in made::idp() {
        the_emulators_hold(&root.folder("emu-moto-cognito"));
    }
}

fn the_emulators_hold(folder: &Folder) {
    let keys = folder.text("jwks.json");
    for (name, claim) in [("AccessToken.jwt", "client_id"), ("IdToken.jwt", "aud")] {
        let fields = json!({
            "issuer": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_9a8e604c6cba4a64b02af6fddb497b11",
            "audiences": ["f1b36fcaab1e47d8bcbe5da028"],
            "audience_claims": [claim],
        });
        let token = folder.text(name);
        holds(name, &fields, &keys, "auto", token.trim_end(), 1_795_312_200);
    }
}

/// A real server: seven algorithms in one set, and a key that was rotated and then retired.
#[test]
pub(crate) fn the_tokens_of_a_real_server_are_judged_right_through_a_rotation() {
    for root in made::idp() {
        a_rotation_is_judged_right(&root.folder("real-glewlwyd"));
    }
}

fn a_rotation_is_judged_right(folder: &Folder) {
    const NOW: u64 = 1_795_312_000;
    const API: &str = "https://orders.example.com/";
    const SCOPES: &str = "orders.read orders.write";
    for (token, keys, audience) in [
        ("access_token.jwt", "jwks.json", SCOPES),
        ("access_token.jwt", "jwks.rotated.json", SCOPES),
        ("access_token.rs512-1.jwt", "jwks.json", API),
        ("access_token.ps256-1.jwt", "jwks.json", API),
        ("access_token.es256-1.jwt", "jwks.json", API),
        ("access_token.es384-1.jwt", "jwks.json", API),
        ("access_token.ed-1.jwt", "jwks.json", API),
        ("access_token.rotated.jwt", "jwks.rotated.json", SCOPES),
        ("access_token.retired.jwt", "jwks.retired.json", SCOPES),
    ] {
        let fields = json!({
            "issuer": "http://127.0.0.1:4593/api/oidc",
            "audiences": [audience],
            "token_types": ["application/at+jwt"],
        });
        let keys = folder.text(keys);
        holds(token, &fields, &keys, "auto", folder.text(token).trim_end(), NOW);
    }
    // This server left out the first byte of y, a zero: RFC 7518 section 6.2.1.3, "the length of this
    // octet string MUST be the full size of a coordinate". The number is the same: the key serves, with a warning.
    let set = folder.document("jwks.json");
    let read = judge::remote(&set).expect("a key set");
    assert_eq!(read.skipped(), []);
    let warnings: Vec<_> = read.warnings().collect();
    assert!(matches!(&warnings[..], [warning] if warning.starts_with("keys[4]: ")), "{warnings:?}");
    let token = folder.text("access_token.es512-1.jwt");
    let mended = provider(&json!({}), &set.to_string(), "jwks");
    assert_eq!(judged("ES512", &mended, token.trim_end(), NOW), Ok(()));
    let changed = judged("ES512", &mended, &flip_bit(token.trim_end()), NOW);
    assert_eq!(changed, Err(Reason::SignatureInvalid));
    for (token, keys) in [
        ("access_token.jwt", "jwks.retired.json"),
        ("access_token.es256-1.jwt", "jwks.retired.json"),
        ("access_token.rotated.jwt", "jwks.json"),
    ] {
        let provider = provider(&json!({}), &folder.text(keys), "jwks");
        let got = judged(token, &provider, folder.text(token).trim_end(), NOW);
        assert_eq!(got, Err(Reason::KeyNotFound), "{token} under {keys}");
    }
}
