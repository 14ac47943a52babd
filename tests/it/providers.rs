//! The recipes of `envoy/providers/`, each held to what its provider's tokens look like.
//!
//! A recipe is taken as it stands, but for its keys: the test puts the provider's key set in the place of the
//! endpoint, and beside it a key of its own, with which it signs the tokens that the provider never would.

use crate::common;
use crate::made::{self, Root};

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::vectors::recipes::CAPTURED;
use common::{SOON, assert_sound, parts};
use harness::idp::{flip_bit, now};
use harness::{Alg, Envoy, Key, Upstream, Wasm};
use portcullis::{
    Claims, Config, Environment, FilterStateField, Gate, Json, JsonText as Text, Outcome, Reason, Request,
    StreamId, Timestamp,
};
use serde_json::{Value, json};

/// A recipe and where it is to be pinched.
struct Recipe {
    /// `envoy/providers/<file>.yaml`
    file: &'static str,
    /// The provider's folder of test data, where that has another name.
    folder: Option<&'static str>,
    /// The claim by which the recipe tells whom a token is for; empty: by none.
    audience: &'static str,
    /// The roles in the token, where `meta.json` does not tell them.
    roles: &'static [&'static str],
    /// Whether the roles that `meta.json` names count too.
    other_roles: bool,
    /// What the rule asks for: a claim by its JSON pointer, a value that is not enough (empty: it is left out), and
    /// the reason of the refusal.
    demands: &'static [(&'static str, &'static str, Reason)],
}

const fn recipe(file: &'static str, demands: &'static [(&'static str, &'static str, Reason)]) -> Recipe {
    Recipe { file, folder: None, audience: "/aud", roles: &[], other_roles: true, demands }
}

use Reason::{
    ClaimInvalid as Invalid, ClaimMismatch as Claim, ClaimMissing as Missing, RoleInsufficient as Role,
    ScopeInsufficient as Scope,
};

const RECIPES: &[Recipe] = &[
    recipe(
        "auth0",
        &[
            ("/scope", r#""openid read:patient read:admin""#, Scope),
            ("/scope", "", Missing),
            ("/https:~1~1example.com~1roles", r#"["administrator"]"#, Role),
            ("/https:~1~1example.com~1roles", "", Role),
        ],
    ),
    recipe("auth0-rfc9068", &[("/scope", r#""openid""#, Scope), ("/client_id", r#""other""#, Claim)]),
    Recipe {
        audience: "",
        roles: &["Engineering", "finance"],
        ..recipe(
            "aws-verified-access",
            &[
                ("/groups", r#"["finance"]"#, Role),
                ("/groups", "", Role),
                ("/email_verified", r#""true""#, Claim),
            ],
        )
    },
    Recipe {
        audience: "/azp",
        ..recipe(
            "clerk",
            &[
                ("/o/per", r#""manager,read""#, Role),
                ("/o", "", Role),
                ("/sts", r#""pending""#, Claim),
                ("/sid", "", Missing),
            ],
        )
    },
    recipe(
        "cloudflare-access",
        &[
            ("/type", r#""org""#, Invalid),
            ("/email", r#""user@example.com.evil.example""#, Claim),
            ("/email", r#""user@evil.example@example.com""#, Claim),
            ("/email", "", Claim),
        ],
    ),
    Recipe {
        audience: "/client_id",
        ..recipe(
            "cognito-access",
            &[
                ("/scope", r#""openid orders.read""#, Scope),
                ("/cognito:groups", "", Role),
                ("/token_use", r#""id""#, Invalid),
                ("/token_use", "", Invalid),
            ],
        )
    },
    Recipe {
        roles: &["admin"],
        ..recipe(
            "cognito-id",
            &[("/cognito:groups", r#"["users"]"#, Role), ("/token_use", r#""access""#, Invalid)],
        )
    },
    recipe("dex", &[("/groups", r#"["developers"]"#, Role), ("/email_verified", "false", Claim)]),
    recipe("entra-v1", &[("/scp", r#""other""#, Scope), ("/scp", "", Missing), ("/appid", "", Claim)]),
    recipe(
        "entra-v2",
        &[
            ("/scp", r#""access_as_user Orders""#, Scope),
            ("/scp", "", Missing),
            ("/roles", r#"["Orders.Writer"]"#, Role),
            ("/tid", r#""fa15d692-e9c7-4460-a743-29f29522229""#, Reason::IssuerUnknown),
            ("/tid", "", Reason::IssuerUnknown),
        ],
    ),
    recipe(
        "entra-v2-app-only",
        &[
            ("/roles", r#"["Orders.Write.All"]"#, Role),
            ("/roles", "", Role),
            ("/idtyp", r#""user""#, Invalid),
            ("/idtyp", "", Invalid),
        ],
    ),
    recipe(
        "firebase",
        &[
            ("/admin", r#""true""#, Claim),
            ("/admin", "", Claim),
            ("/firebase/tenant", r#""t-2""#, Claim),
            ("/firebase/identities/google.com", "", Claim),
        ],
    ),
    recipe(
        "github-actions",
        &[
            ("/repository_id", r#""75""#, Claim),
            ("/repository_id", "74", Claim),
            ("/repository_owner_id", r#""66""#, Claim),
            ("/ref", r#""refs/heads/feature""#, Claim),
            ("/environment", "", Claim),
            ("/sub", r#""repo:octo-org/octo-repository:environment:prod""#, Reason::SubjectMismatch),
            ("/jti", "", Missing),
        ],
    ),
    recipe(
        "gitlab-ci",
        &[
            ("/project_id", r#""21""#, Claim),
            ("/namespace_id", "72", Claim),
            ("/deployment_tier", r#""production""#, Claim),
            ("/job_id", "", Missing),
        ],
    ),
    Recipe { folder: Some("real-glewlwyd"), ..recipe("glewlwyd", &[("/scope", r#""orders""#, Scope)]) },
    recipe(
        "google-id-token",
        &[("/hd", r#""evil.example""#, Claim), ("/hd", "", Claim), ("/email_verified", "false", Claim)],
    ),
    recipe(
        "google-service-account-id-token",
        &[("/email", r#""svc@other.iam.gserviceaccount.com""#, Claim), ("/email", "", Claim)],
    ),
    recipe(
        "google-service-account-self-signed",
        &[("/sub", r#""other@my-project.iam.gserviceaccount.com""#, Claim)],
    ),
    Recipe {
        roles: &["reader", "writer"],
        other_roles: false,
        ..recipe(
            "keycloak",
            &[
                ("/scope", r#""openid profile""#, Scope),
                ("/resource_access/orders-api", "", Role),
                ("/resource_access/orders-api/roles", r#"["reader"]"#, Role),
                ("/typ", r#""ID""#, Invalid),
                ("/typ", r#""Refresh""#, Invalid),
                ("/typ", r#""Logout""#, Invalid),
                ("/typ", "", Invalid),
            ],
        )
    },
    Recipe {
        audience: "/azp",
        roles: &["reader", "writer"],
        ..recipe(
            "keycloak-client-credentials",
            &[
                ("/resource_access", "", Role),
                ("/resource_access/orders-api/roles", r#"["writer"]"#, Role),
                ("/typ", r#""ID""#, Invalid),
                ("/typ", "", Invalid),
            ],
        )
    },
    recipe(
        "kubernetes-sa",
        &[
            ("/kubernetes.io/namespace", r#""default""#, Claim),
            ("/kubernetes.io/serviceaccount/name", r#""default""#, Claim),
            ("/kubernetes.io", "", Claim),
        ],
    ),
    Recipe {
        folder: Some("emu-moto-cognito"),
        audience: "/client_id",
        ..recipe(
            "moto-cognito",
            &[
                ("/scope", r#""openid""#, Scope),
                ("/cognito:groups", r#"["users"]"#, Role),
                ("/token_use", r#""id""#, Invalid),
            ],
        )
    },
    recipe(
        "okta",
        &[
            ("/scp", r#"["openid"]"#, Scope),
            ("/scp", "", Missing),
            ("/groups", r#"["Everyone", "Midwest"]"#, Role),
        ],
    ),
    recipe("pingone", &[("/scope", r#""openid""#, Scope), ("/scope", "", Missing), ("/p1.rid", "", Claim)]),
    recipe(
        "supabase",
        &[
            ("/app_metadata/roles", r#"["viewer"]"#, Role),
            ("/app_metadata", "", Role),
            ("/role", r#""anon""#, Role),
            ("/is_anonymous", "true", Claim),
            ("/session_id", "", Missing),
        ],
    ),
];

const ELSEWHERE: &str = "https://elsewhere.example/";

/// A provider's folder.
struct Vendor {
    token: String,
    /// The key set, or a map of PEM documents.
    keys: Value,
    meta: Value,
    header: Value,
    claims: Value,
    now: u64,
}

impl Recipe {
    fn folder(&self) -> &'static str {
        self.folder.unwrap_or(self.file)
    }

    /// The recipe as it stands.
    fn config(&self) -> Value {
        let path = folder_of_recipes().join(self.file).with_extension("yaml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", self.file))
    }

    /// The recipe with the provider's keys, and ours, in the place of the endpoint.
    fn with_keys(&self, vendor: &Vendor) -> Value {
        let mut config = self.config();
        let providers = config["providers"].as_object_mut().expect("providers");
        assert_eq!(providers.len(), 1, "{}: one provider a recipe", self.file);
        for provider in providers.values_mut().filter_map(Value::as_object_mut) {
            let remote = provider.remove("remote_jwks").or_else(|| provider.remove("discovery"));
            let format = provider.get("local_jwks").and_then(|keys| keys.get("format")).cloned();
            assert!(remote.is_some() != format.is_some(), "{}: one source of keys", self.file);
            let own = vendor.key();
            let mut keys = vendor.keys.clone();
            match keys["keys"].as_array_mut() {
                Some(keys) => keys.push(own.public_jwk()),
                None => keys[own.kid()] = json!(own.public_pem()),
            }
            let mut local = json!({ "inline_string": keys.to_string() });
            if let Some(format) = format {
                local["format"] = format;
            }
            provider.insert("local_jwks".to_owned(), local);
            // This token is for the API server, too, and so good for a year. `vectors::recipes` holds the limit.
            if self.file == "kubernetes-sa" {
                assert!(provider.remove("max_lifetime").is_some(), "{}: max_lifetime", self.file);
            }
        }
        config
    }

    fn vendor(&self, root: &Root) -> Vendor {
        let folder = root.folder(self.folder());
        // Two folders were captured from servers that ran, and describe themselves less.
        let (token, meta) = match self.folder() {
            "emu-moto-cognito" => (
                "AccessToken.jwt",
                json!({
                    "verify_at": 1_795_312_200,
                    "expect": { "scopes": ["aws.cognito.signin.user.admin"], "roles": ["admin"] },
                }),
            ),
            "real-glewlwyd" => (
                "access_token.es256-1.jwt",
                json!({ "verify_at": 1_795_312_000, "expect": { "scopes": ["orders.read"] } }),
            ),
            _ => ("token.jwt", folder.document("meta.json")),
        };
        let token = folder.text(token);
        let [header, claims, _] = parts(&token);
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("JSON") };
        let (header, claims) = (json(&header), json(&claims));
        let keys = if folder.has("jwks.json") {
            folder.document("jwks.json")
        } else {
            json!({ header["kid"].as_str().expect("a kid"): folder.text("public_key.pem") })
        };
        let now = meta["verify_at"].as_u64().expect("verify_at");
        Vendor { token, keys, meta, header, claims, now }
    }

    /// The claims of tokens that must not pass, and why.
    fn wrong(&self, vendor: &Vendor) -> Vec<(String, Value, Reason)> {
        let mut wrong = Vec::new();
        let mut add = |pointer: &str, value: Option<Value>, reason| {
            let what = format!("{}: {pointer} {value:?}", self.file);
            let mut claims = vendor.claims.clone();
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            let name = name.replace("~1", "/");
            let parent = claims.pointer_mut(parent).and_then(Value::as_object_mut).expect("a parent");
            assert!(parent.contains_key(&name), "{what}: the token has no such claim");
            match value {
                Some(value) => parent.insert(name, value),
                None => parent.remove(&name),
            };
            wrong.push((what, claims, reason));
        };
        if !self.audience.is_empty() {
            add(self.audience, Some(json!(ELSEWHERE)), Reason::AudienceMismatch);
            add(self.audience, None, Reason::AudienceMismatch);
        }
        if vendor.claims.get("iss").is_some() {
            let issuer = vendor.claims["iss"].as_str().expect("a text");
            add("/iss", Some(json!(ELSEWHERE)), Reason::IssuerUnknown);
            add("/iss", Some(json!(format!("{issuer}/"))), Reason::IssuerUnknown);
            add("/iss", Some(json!(issuer.trim_end_matches('/').to_uppercase())), Reason::IssuerUnknown);
            add("/iss", None, Reason::IssuerUnknown);
        }
        for (pointer, value, reason) in self.demands {
            let value = (!value.is_empty()).then(|| serde_json::from_str(value).expect("JSON"));
            add(pointer, value, *reason);
        }
        wrong
    }
}

impl Vendor {
    /// A key of ours, for the algorithm of the provider's.
    fn key(&self) -> Key {
        let name = self.header["alg"].as_str().expect("an algorithm");
        let alg = Alg::ALL.iter().find(|alg| alg.name() == name).expect("a known algorithm");
        Key::cached(*alg, "ours")
    }

    /// A token like the provider's, signed with our key.
    fn sign(&self, claims: &Value) -> String {
        let mut header = self.header.clone();
        header["kid"] = json!("ours");
        self.key().sign_jws(&header, claims.to_string().as_bytes())
    }

    /// The header field that carries a token.
    fn field(&self, token: &str) -> (String, String) {
        match &self.meta["token_from"] {
            Value::Null => ("authorization".to_owned(), format!("Bearer {token}")),
            from => {
                let text = |name: &str| from[name].as_str().expect("a text");
                (text("name").to_owned(), format!("{}{token}", text("prefix")))
            }
        }
    }

    fn expected(&self, name: &str) -> &Value {
        &self.meta["expect"][name]
    }

    /// The scopes that a gate must get out of the token.
    fn scopes(&self) -> BTreeSet<String> {
        let claim = self.expected("scope_claim").as_str().unwrap_or("scope");
        match (self.expected("scopes"), &self.claims[claim]) {
            (Value::Null, Value::String(list)) => list.split(' ').map(str::to_owned).collect(),
            (Value::Null, list) | (list, _) => texts(list),
        }
    }

    /// The roles that a gate must get out of the token.
    fn roles(&self) -> BTreeSet<String> {
        let at = |path: &Value| {
            let names = path.as_array().expect("a path").iter().filter_map(Value::as_str);
            texts(names.fold(&self.claims, |value, name| &value[name]))
        };
        let mut roles = texts(self.expected("roles"));
        roles.extend(self.expected("roles_paths").as_array().into_iter().flatten().flat_map(at));
        if !self.expected("roles_path").is_null() {
            roles.extend(at(self.expected("roles_path")));
        }
        roles.extend(self.expected("role_is_scalar")[1].as_str().map(str::to_owned));
        let list = self.expected("comma_list")[1].as_str().unwrap_or_default();
        roles.extend(list.split(',').filter(|role| !role.is_empty()).map(str::to_owned));
        if let Some(claim) = self.expected("roles_claim").as_str() {
            roles.extend(texts(&self.claims[claim]));
        }
        roles
    }
}

/// Every recipe with its provider: as it is made here, and as the shared folder has it.
fn everyone() -> impl Iterator<Item = (&'static Recipe, Vendor)> {
    made::idp().into_iter().flat_map(|root| RECIPES.iter().map(move |recipe| (recipe, recipe.vendor(&root))))
}

/// The texts of a list.
fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

fn folder_of_recipes() -> PathBuf {
    harness::workspace().join("envoy/providers")
}

#[track_caller]
fn parsed(what: &str, config: &Value) -> Config {
    let keys = json!({ "k": Key::cached(Alg::ES384, "ours").public_pem() }).to_string();
    let environment = |name: &str| (name == "VERIFIED_ACCESS_KEYS").then(|| keys.clone());
    Config::parse(config.to_string().as_bytes(), &environment)
        .unwrap_or_else(|errors| panic!("{what}: {errors:?}"))
}

/// What becomes of a request with this token: the scopes in the filter state, or the reason.
fn decided(recipe: &Recipe, vendor: &Vendor, token: &str, at: u64) -> Result<BTreeSet<String>, Reason> {
    let (name, value) = vendor.field(token);
    decided_with(recipe, vendor, &[(&name, &value)], at)
}

fn decided_with(
    recipe: &Recipe,
    vendor: &Vendor,
    more: &[(&str, &str)],
    at: u64,
) -> Result<BTreeSet<String>, Reason> {
    let now = Timestamp::from_secs(at);
    let mut gate = Gate::new(parsed(recipe.file, &recipe.with_keys(vendor)), Environment::alone(1), now);
    let fields = [(":method", "GET"), (":path", "/orders"), (":authority", "orders.example")];
    let fields: Vec<_> =
        fields.iter().chain(more).map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    match gate.decide(StreamId(1), &Request::new(&fields), now) {
        Outcome::Allow(allow) => {
            let scopes = allow.state.get(FilterStateField::Scopes).expect("scopes");
            Ok(scopes.split_whitespace().map(str::to_owned).collect())
        }
        Outcome::Deny(refusal) => Err(refusal.response.reason),
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => panic!("{}: keys are there", recipe.file),
    }
}

#[test]
fn every_provider_has_a_recipe_and_every_recipe_is_tested() {
    let mut files: Vec<String> = fs::read_dir(folder_of_recipes())
        .expect("the folder of recipes")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    files.sort();
    let mut known: Vec<_> =
        RECIPES.iter().map(|recipe| recipe.file).chain(CAPTURED.iter().copied()).collect();
    known.sort_unstable();
    assert_eq!(files, known);
    for recipe in RECIPES {
        let warnings = parsed(recipe.file, &recipe.config()).warnings;
        // Amazon's token has neither an audience nor an issuer that a claim could tell.
        let expected = if recipe.file == "aws-verified-access" { 2 } else { 0 };
        assert_eq!(warnings.len(), expected, "{}: {warnings:?}", recipe.file);
    }
    let folders: BTreeSet<_> = RECIPES.iter().map(|recipe| recipe.folder().to_owned()).collect();
    for root in made::idp() {
        assert_eq!(root.names(), folders);
    }
}

/// A recipe asks the provider's own endpoint for keys, and looks for the token where the provider's clients send it.
#[test]
fn a_recipe_names_the_key_endpoint_and_the_issuer_of_its_provider() {
    for (recipe, vendor) in everyone() {
        let config = recipe.config();
        let provider =
            config["providers"].as_object().and_then(|all| all.values().next()).expect("a provider");
        let uri = |source: &str| provider[source]["http_uri"]["uri"].as_str();
        for (source, name) in [("remote_jwks", "jwks_uri"), ("discovery", "discovery")] {
            if let (Some(uri), Some(expected)) = (uri(source), vendor.meta[name].as_str()) {
                assert_eq!(uri, expected, "{}", recipe.file);
            }
        }
        if recipe.file != "aws-verified-access" {
            assert!(uri("remote_jwks").or(uri("discovery")).is_some(), "{}: keys are fetched", recipe.file);
        }
        let Some(aliases) = vendor.meta["issuer_aliases"].as_array() else { continue };
        for alias in aliases {
            let mut claims = vendor.claims.clone();
            claims["iss"] = alias.clone();
            let outcome = decided(recipe, &vendor, &vendor.sign(&claims), vendor.now);
            assert!(outcome.is_ok(), "{} by another name {alias}: {outcome:?}", recipe.file);
        }
    }
}

#[test]
fn a_recipe_takes_the_scopes_and_roles_of_its_provider_and_no_others() {
    for (recipe, vendor) in everyone() {
        let config = parsed(recipe.file, &recipe.with_keys(&vendor));
        let Ok(Json::Object(claims)) = portcullis::parse_json(vendor.claims.to_string().as_bytes()) else {
            panic!("{}: claims", recipe.file)
        };
        let claims = Claims::new(claims, &config.providers[0].policy.grants).expect(recipe.file);
        let set = |names: &[Text]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let mut roles = if recipe.other_roles { vendor.roles() } else { BTreeSet::new() };
        roles.extend(recipe.roles.iter().map(|role| (*role).to_owned()));
        assert_eq!(set(&claims.roles), roles, "{}: roles", recipe.file);
        assert_eq!(set(&claims.scopes), vendor.scopes(), "{}: scopes", recipe.file);
    }
}

#[test]
fn a_recipe_passes_the_right_token_and_refuses_the_wrong_ones() {
    let mut refused = 0;
    for (recipe, vendor) in everyone() {
        let what = recipe.file;
        assert_eq!(decided(recipe, &vendor, &vendor.token, vendor.now), Ok(vendor.scopes()), "{what}");
        let turned = decided(recipe, &vendor, &flip_bit(&vendor.token), vendor.now);
        assert_eq!(turned, Err(Reason::SignatureInvalid), "{what}, a bit turned");
        let late = if vendor.claims.get("exp").is_some() { Reason::Expired } else { Reason::TooOld };
        assert_eq!(decided(recipe, &vendor, &vendor.token, 4_000_000_000), Err(late), "{what}, too late");
        // With our key the same claims pass: what is refused below is refused for its one change.
        let same = decided(recipe, &vendor, &vendor.sign(&vendor.claims), vendor.now);
        assert_eq!(same, Ok(vendor.scopes()), "{what}, our key");
        for (what, claims, reason) in recipe.wrong(&vendor) {
            let outcome = decided(recipe, &vendor, &vendor.sign(&claims), vendor.now);
            assert_eq!(outcome, Err(reason), "{what}");
            refused += 1;
        }
    }
    println!("{} recipes, {refused} wrong tokens refused", RECIPES.len());
}

/// Clerk's token comes in a cookie from pages of the same site; Cloudflare's in both at once.
#[test]
fn a_token_in_a_cookie_is_read_or_left_alone_as_the_provider_means_it() {
    for (recipe, vendor) in everyone() {
        let (also_in_header, alone) = match recipe.file {
            "clerk" => (false, Ok(())),
            "cloudflare-access" => (true, Err(Reason::TokenMissing)),
            _ => continue,
        };
        let file = recipe.file;
        let cookie = vendor.meta["also_from"]["name"].as_str().expect("the cookie's name");
        let cookie = format!("theme=dark; {cookie}={}", vendor.token);
        let outcome = decided_with(recipe, &vendor, &[("cookie", &cookie)], vendor.now);
        assert_eq!(outcome.map(drop), alone, "{file}, the cookie alone");
        if also_in_header {
            let (name, value) = vendor.field(&vendor.token);
            let outcome = decided_with(recipe, &vendor, &[("cookie", &cookie), (&name, &value)], vendor.now);
            assert_eq!(outcome.map(drop), Ok(()), "{file}, header and cookie");
        }
    }
}

/// Tokens that the same issuer signs for another purpose.
#[test]
fn a_recipe_refuses_the_other_tokens_of_its_provider() {
    let find = |file: &str| RECIPES.iter().find(|recipe| recipe.file == file).expect("a recipe");
    for (file, other, reason) in [
        ("keycloak", "keycloak-client-credentials", Reason::AudienceMismatch),
        ("cognito-access", "cognito-id", Reason::AudienceMismatch),
        ("cognito-id", "cognito-access", Reason::AudienceMismatch),
        ("auth0-rfc9068", "auth0", Reason::TypeNotAllowed),
        ("entra-v2", "entra-v1", Reason::IssuerUnknown),
        ("entra-v2", "entra-v2-app-only", Missing),
        ("entra-v2-app-only", "entra-v2", Invalid),
        ("google-id-token", "google-service-account-id-token", Reason::AudienceMismatch),
        ("google-service-account-id-token", "google-id-token", Reason::AudienceMismatch),
    ] {
        for root in made::idp() {
            let (own, other) = (find(file).vendor(&root), find(other).vendor(&root));
            let token = own.key().sign_jws(
                &{
                    let mut header = other.header.clone();
                    header["kid"] = json!("ours");
                    header
                },
                other.claims.to_string().as_bytes(),
            );
            assert_eq!(decided(find(file), &own, &token, own.now), Err(reason), "{file}");
        }
    }
}

/// All recipes in one filter of one Envoy, each behind a path of its own. The tokens are our own, for the providers'
/// have ended long ago.
#[test]
fn every_recipe_holds_on_an_envoy() {
    for root in made::idp() {
        all_hold_on_an_envoy(&root);
    }
}

fn all_hold_on_an_envoy(root: &Root) {
    let mut config = json!({ "providers": {}, "rules": [] });
    let mut vendors = Vec::new();
    for recipe in RECIPES {
        let vendor = recipe.vendor(root);
        let one = recipe.with_keys(&vendor);
        let provider = one["providers"].as_object().and_then(|all| all.values().next()).expect("a provider");
        config["providers"][recipe.file] = provider.clone();
        let mut rule = one["rules"][0].clone();
        rule["name"] = json!(recipe.file);
        rule["match"] = json!({ "prefix": format!("/{}/", recipe.file) });
        rule["requires"] = json!({ "provider_name": recipe.file });
        config["rules"].as_array_mut().expect("a list").push(rule);
        vendors.push(vendor);
    }
    let upstream = Upstream::start();
    let envoy =
        Envoy::builder().shared().upstream(&upstream).filter(Wasm::portcullis(config).as_struct()).start();
    let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
    let send = |vendor: &Vendor, path: &str, claims: &Value| {
        let mut claims = claims.clone();
        for (date, from_now) in [("iat", 0), ("nbf", 0), ("auth_time", 0), ("exp", 600)] {
            if claims.get(date).is_some() {
                claims[date] = json!(now() + from_now);
            }
        }
        let (name, value) = vendor.field(&vendor.sign(&claims));
        harness::Request::get(path).header(name, value).send(envoy.addr())
    };
    for (recipe, vendor) in RECIPES.iter().zip(&vendors) {
        let path = format!("/{}/right", recipe.file);
        let response = send(vendor, &path, &vendor.claims);
        assert_eq!(response.status, 200, "{}: {}", recipe.file, response.text());
        for (at, (what, claims, reason)) in recipe.wrong(vendor).into_iter().enumerate() {
            let path = format!("/{}/wrong/{at}", recipe.file);
            let response = send(vendor, &path, &claims);
            let status = if matches!(reason, Scope | Role | Claim) { 403 } else { 401 };
            assert_eq!(response.status, status, "{what}: {}", response.text());
            let details = format!("portcullis_{}", reason.as_str());
            assert_eq!(envoy.logged(&path, SOON)["details"], json!(details), "{what}");
        }
    }
    assert_eq!(upstream.take().len(), RECIPES.len(), "what is refused does not reach the upstream");
    assert_sound(&envoy);
}
