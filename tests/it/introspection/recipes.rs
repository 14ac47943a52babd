//! The recipes of `envoy/providers/introspection/` over what their servers answer: access tokens pass, and nothing else
//! that the same server calls active does.

use std::collections::BTreeSet;

use harness::{Alg, Key, workspace};
use portcullis::Config;
use serde_json::{Value, json};

use super::captured::Captured;
use super::replay::{Replay, field, form, json_answer, opaque};
use crate::common::pages::files;
use crate::common::with;
use crate::made::{self, Root};
use crate::vectors::judge;

struct Recipe {
    /// `envoy/providers/introspection/<name>.yaml`
    name: &'static str,
    folder: &'static str,
    issuer: &'static str,
    audience: &'static str,
    /// How many warnings it is meant to cause: one where the server names no audience.
    warnings: usize,
    cases: &'static [(&'static str, &'static str)],
}

const ALLOW: &str = "allow";
const INACTIVE: &str = "token_inactive";
const AUDIENCE: &str = "audience_mismatch";
const SCOPE: &str = "scope_insufficient";
const ROLE: &str = "role_insufficient";
const BOUND: &str = "token_bound";
const TYPE: &str = "type_not_allowed";

#[rustfmt::skip]
const RECIPES: &[Recipe] = &[
    Recipe {
        name: "keycloak",
        folder: "real-keycloak",
        issuer: "https://localhost:21443/realms/demo",
        audience: "orders-api",
        warnings: 0,
        cases: &[
            ("lightweight", ALLOW),
            ("lightweight-client-credentials", ALLOW),
            ("introspected", ALLOW),
            ("full-jwt-accepted", ALLOW),
            ("client-credentials-audience", ALLOW),
            ("aud-by-mapper", ROLE),
            ("lightweight-dpop", BOUND),
            ("mtls", BOUND),
            ("client-not-in-audience", INACTIVE),
        ],
    },
    Recipe {
        name: "hydra",
        folder: "real-hydra",
        issuer: "http://127.0.0.1:22100/",
        audience: "orders",
        warnings: 0,
        cases: &[
            ("client-credentials", ALLOW),
            ("two-audiences", ALLOW),
            ("user", ALLOW),
            ("empty-aud", AUDIENCE),
            ("inactive", INACTIVE),
            ("revoked", INACTIVE),
            // Its JWTs have not the prefix.
            ("jwt", "token_malformed"),
        ],
    },
    Recipe {
        name: "spring",
        folder: "real-spring-authorization-server",
        issuer: "http://127.0.0.1:22300",
        audience: "orders",
        warnings: 0,
        cases: &[
            ("client-credentials", ALLOW),
            ("user", ALLOW),
            ("no-scope", AUDIENCE),
            ("dpop", BOUND),
            ("inactive", INACTIVE),
            ("revoked", INACTIVE),
        ],
    },
    Recipe {
        name: "oidc-provider",
        folder: "real-oidc-provider-opaque",
        issuer: "http://127.0.0.1:22010",
        audience: "orders-opaque",
        warnings: 0,
        cases: &[
            ("client-credentials", ALLOW),
            ("no-scope", SCOPE),
            ("no-aud", AUDIENCE),
            ("user", AUDIENCE),
            ("dpop", BOUND),
            ("mtls", BOUND),
            ("inactive", INACTIVE),
            ("revoked", INACTIVE),
        ],
    },
    Recipe {
        name: "zitadel",
        folder: "real-zitadel-oidc",
        issuer: "http://127.0.0.1:22200/",
        audience: "",
        warnings: 1,
        cases: &[
            ("user", ALLOW),
            ("inactive", INACTIVE),
            ("revoked", INACTIVE),
            ("by-another-client", INACTIVE),
            ("client-credentials-by-itself", "introspection_unavailable"),
        ],
    },
    Recipe {
        name: "canaille",
        folder: "real-canaille-introspection",
        issuer: "http://127.0.0.1:22400",
        audience: "svc-a",
        warnings: 0,
        cases: &[
            ("client-credentials", ALLOW),
            ("user-jwt", ALLOW),
            ("inactive", INACTIVE),
            ("revoked", INACTIVE),
        ],
    },
    Recipe {
        name: "django-oauth-toolkit",
        folder: "real-django-oauth-toolkit",
        issuer: "https://django.example.com",
        audience: "",
        warnings: 1,
        cases: &[
            ("client-credentials", ALLOW),
            ("user", ALLOW),
            ("inactive", INACTIVE),
            ("revoked", INACTIVE),
        ],
    },
    Recipe {
        name: "glewlwyd",
        folder: "real-glewlwyd-introspection",
        issuer: "http://127.0.0.1:22450/api/oidc",
        audience: "https://orders.example.com/",
        warnings: 0,
        cases: &[
            ("jwt", ALLOW),
            ("revoked", INACTIVE),
            ("scopes-as-aud", AUDIENCE),
            // No JWT: nothing that this recipe asks about.
            ("inactive", "token_malformed"),
        ],
    },
];

/// What servers say is active and is no access token, after what their code answers; and whether the recipe takes
/// anything to it but the name of the server.
#[rustfmt::skip]
const OTHERS: &[(&str, &str, &str)] = &[
    // A refresh token, should it have the prefix.
    ("hydra", r#"{"active":true,"scope":"orders.read offline","client_id":"web","sub":"alice","aud":["orders"],
        "iss":"http://127.0.0.1:22100/","token_type":"Bearer","token_use":"refresh_token"}"#, TYPE),
    // A refresh token, and an ID token.
    ("spring", r#"{"active":true,"client_id":"web"}"#, "claim_missing"),
    ("spring", r#"{"active":true,"client_id":"web","aud":["orders"],"iss":"http://127.0.0.1:22300"}"#, "claim_missing"),
    ("oidc-provider", r#"{"active":true,"client_id":"web","sub":"alice","iss":"http://127.0.0.1:22010",
        "aud":"orders-opaque","scope":"openid orders.read offline_access"}"#, "claim_missing"),
    ("canaille", r#"{"active":true,"aud":["other"],"client_id":"other","token_type":"Bearer","scope":"profile"}"#, AUDIENCE),
    ("django-oauth-toolkit", r#"{"active":true,"scope":"introspection","client_id":"gate"}"#, SCOPE),
    ("zitadel", r#"{"active":true,"scope":"openid"}"#, "claim_missing"),
];

impl Recipe {
    fn find(name: &str) -> &'static Self {
        RECIPES.iter().find(|recipe| recipe.name == name).expect("a recipe")
    }

    /// The recipe with the issuer, audience and keys of the server that ran, and without what only the network has.
    fn config(&self, keys: Option<&str>) -> Value {
        let mut config = recipe(self.name);
        let provider = the_provider(&mut config);
        provider["issuer"] = json!(self.issuer);
        if provider.get("audiences").is_some() {
            provider["audiences"] = json!([self.audience]);
        }
        let fields = provider.as_object_mut().expect("a provider");
        let remote = fields.remove("remote_jwks").or_else(|| fields.remove("discovery"));
        if remote.is_some() {
            let keys = keys.expect("the server's keys");
            fields.insert("local_jwks".to_owned(), json!({ "inline_string": keys }));
        }
        config
    }
}

fn recipe(name: &str) -> Value {
    let path = workspace().join("envoy/providers/introspection").join(name).with_extension("yaml");
    let config: Value =
        serde_norway::from_str(&judge::contents(&path)).unwrap_or_else(|error| panic!("{name}: {error}"));
    with_secret(config)
}

/// Every secret of a recipe has the name of the one variable of a [`Replay`].
fn with_secret(mut config: Value) -> Value {
    if let Some(secret) = the_provider(&mut config)["introspection"].get_mut("client_secret") {
        secret["environment_variable"] = json!("SECRET");
    }
    config
}

fn the_provider(config: &mut Value) -> &mut Value {
    let providers = config["providers"].as_object_mut().expect("providers");
    assert_eq!(providers.len(), 1, "one provider a recipe");
    providers.values_mut().next().expect("a provider")
}

#[test]
fn every_recipe_is_tested_and_as_good_as_it_says() {
    let found: BTreeSet<String> = files(&workspace().join("envoy/providers/introspection"), "yaml")
        .iter()
        .map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let known: BTreeSet<String> =
        RECIPES.iter().map(|recipe| recipe.name.to_owned()).chain(["okta".to_owned()]).collect();
    assert_eq!(found, known);
    for name in found {
        let text = recipe(&name).to_string();
        let variable = |_: &str| Some("a-secret-of-some-length".to_owned());
        let config =
            Config::parse(text.as_bytes(), &variable).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let expected = RECIPES.iter().find(|recipe| recipe.name == name).map_or(0, |recipe| recipe.warnings);
        assert_eq!(config.warnings.len(), expected, "{name}: {:?}", config.warnings);
        assert_eq!(recipe(&name)["public_rules"], "explicit", "{name}");
    }
}

#[test]
fn every_captured_answer_is_judged_right_by_the_recipe() {
    let mut complaints = Vec::new();
    for root in made::captured() {
        every_answer_is_judged_right(&root, &mut complaints);
    }
    judge::settle(&complaints);
}

fn every_answer_is_judged_right(root: &Root, complaints: &mut Vec<String>) {
    for recipe in RECIPES {
        let folder = root.folder(recipe.folder);
        let keys = folder.has("jwks.json").then(|| folder.text("jwks.json"));
        let config = recipe.config(keys.as_deref());
        for (label, expected) in recipe.cases {
            let captured = Captured::read(&folder, label);
            let at = captured.moment(&folder);
            let got = Replay::new(&config, at).bearer(&captured.token, at, |_| captured.answer());
            if got != *expected {
                complaints.push(format!("{}: {label}: {got}, not {expected}", recipe.name));
            }
        }
        // As it is asked: the path and the client of the calls that were captured.
        let captured = Captured::read(&folder, recipe.cases[0].0);
        let at = captured.moment(&folder);
        let mut replay = Replay::new(&config, at);
        let _ = replay.bearer(&captured.token, at, |_| captured.answer());
        let call = &replay.calls[0];
        let request = folder.text(&format!("introspection.{}.request", recipe.cases[0].0));
        let path = |path: &str| path.split('/').rev().take(2).map(str::to_owned).collect::<Vec<_>>();
        let line = request.lines().next().and_then(|line| line.split(' ').nth(1)).expect("a path");
        // The library's example server has it at another path than the product.
        if recipe.name != "zitadel" && path(line) != path(&call.endpoint.path) {
            complaints.push(format!("{}: {}, not {line}", recipe.name, call.endpoint.path));
        }
        let is_shown =
            |text: &str| text.to_lowercase().contains("authorization: ") || text.contains("authentication: ");
        if is_shown(&request) != field(call, "authorization").is_some() {
            complaints.push(format!("{}: who asks is shown in another way: {}", recipe.name, form(call)));
        }
    }
}

#[test]
fn what_is_active_and_no_access_token_is_refused() {
    let at = 1_796_007_000;
    for (name, answer, expected) in OTHERS {
        let recipe = Recipe::find(name);
        let token = if *name == "hydra" { format!("ory_at_{}", opaque(1)) } else { opaque(1) };
        let got = Replay::new(&recipe.config(None), at).bearer(&token, at, |_| json_answer(answer));
        assert_eq!(got, *expected, "{name}: {answer}");
    }
    // Keycloak's are JWTs: the token is in order, and the answer says what it is.
    let key = Key::cached(Alg::RS256, "ours");
    let keys = json!({ "keys": [key.public_jwk()] }).to_string();
    let recipe = Recipe::find("keycloak");
    let token = |typ: &str| {
        let claims = json!({ "iss": recipe.issuer, "iat": at, "exp": at + 300, "typ": typ, "azp": "light", "jti": "1" });
        key.sign_jws(&json!({ "alg": "RS256", "kid": "ours", "typ": "JWT" }), claims.to_string().as_bytes())
    };
    let answer = |typ: &str| {
        json!({
            "active": true, "iss": recipe.issuer, "aud": ["orders-api"], "sub": "alice", "typ": typ, "token_type": typ,
            "scope": "openid orders", "resource_access": { "orders-api": { "roles": ["writer"] } },
        })
    };
    for (typ, expected) in [("Bearer", ALLOW), ("Refresh", TYPE), ("Offline", TYPE), ("ID", TYPE)] {
        let got = Replay::new(&recipe.config(Some(&keys)), at)
            .bearer(&token(typ), at, |_| json_answer(answer(typ)));
        assert_eq!(got, expected, "{typ}");
    }
    let untyped = with(answer("Refresh"), json!({ "token_type": null }));
    let got =
        Replay::new(&recipe.config(Some(&keys)), at).bearer(&token("Refresh"), at, |_| json_answer(&untyped));
    assert_eq!(got, "claim_invalid");
}

/// Okta's payments are asked about, its orders are not.
#[test]
fn okta_is_asked_where_the_rule_says_so() {
    let at = 1_796_007_000;
    let key = Key::cached(Alg::RS256, "ours");
    let mut config = recipe("okta");
    let provider = the_provider(&mut config);
    let fields = provider.as_object_mut().expect("a provider");
    fields.remove("discovery").expect("a source of keys");
    let keys = json!({ "keys": [key.public_jwk()] }).to_string();
    fields.insert("local_jwks".to_owned(), json!({ "inline_string": keys }));
    let claims = json!({
        "ver": 1, "jti": "AT.1", "iss": "https://dev-123456.okta.com/oauth2/default", "aud": "api://default", "sub": "alice",
        "iat": at, "exp": at + 3600, "cid": "0oa1web", "scp": ["orders.read", "payments.write"],
    });
    let token = key.sign_jws(&json!({ "alg": "RS256", "kid": "ours" }), claims.to_string().as_bytes());
    let bearer = format!("Bearer {token}");
    let says = |active: bool| {
        json!({
            "active": active, "jti": "AT.1", "iss": claims["iss"], "aud": claims["aud"], "sub": "alice",
            "token_type": "Bearer", "scope": "orders.read payments.write", "client_id": "0oa1web", "uid": "00u1",
        })
    };
    let mut replay = Replay::new(&config, at);
    assert_eq!(replay.ask("/orders", &bearer, at, |_| json_answer(says(true))), ALLOW);
    assert!(replay.calls.is_empty());
    assert_eq!(replay.ask("/payments/1", &bearer, at, |_| json_answer(says(true))), ALLOW);
    assert_eq!(replay.calls.len(), 1);
    let mut replay = Replay::new(&config, at);
    assert_eq!(replay.ask("/payments/1", &bearer, at, |_| json_answer(says(false))), INACTIVE);
    assert_eq!(replay.ask("/orders", &bearer, at, |_| json_answer(says(false))), ALLOW);
}
