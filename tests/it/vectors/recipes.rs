//! The recipes of `envoy/providers/` over tokens in the forms of real servers, made here, and over those of servers that
//! ran: access tokens pass, and no other token of the same server does.
//!
//! A recipe is taken as it stands, but for what its user replaces (issuer and audience) and for the keys, which are the
//! server's.

use std::collections::BTreeSet;

use harness::idp::{flip_bit, now};
use harness::{Alg, Envoy, Key, Upstream, Wasm, workspace};
use portcullis::{Config, Environment, Gate, Outcome, Reason, Request, StreamId, Timestamp};
use serde_json::{Value, json};

use crate::common::{assert_sound, parts};
use crate::made::{self, Folder, Root};
use crate::vectors::host::backends;
use crate::vectors::judge;

use Reason::{
    AudienceMismatch as Audience, ClaimInvalid as Invalid, ClaimMismatch as Claim, ClaimMissing as Missing,
    KeyNotFound as NoKey, RoleInsufficient as Role, ScopeInsufficient as Scope, TokenBound as Bound,
    TypeNotAllowed as Type,
};

/// Recipes that have no folder of a vendor's documents: what is here is all that tests them.
pub(crate) const CAPTURED: &[&str] = &["canaille", "hydra", "oidc-provider", "spire", "spring", "zitadel"];

/// What becomes of a token.
#[derive(Clone, Copy)]
enum Fate {
    /// It is an access token for this service and meets the rule.
    Passes,
    /// It is an access token for this service, and the rule asks for more.
    Short(Reason),
    /// It is refused.
    Refused(Reason),
    /// It is no access token. It is refused for this reason where its audience is listed too, as it is where the API's own
    /// client logs people in, and where `exp` need not be there.
    Other(Reason),
}
use Fate::{Other, Passes, Refused, Short};

struct Server {
    folder: &'static str,
    /// `envoy/providers/<recipe>.yaml`
    recipe: &'static str,
    issuer: &'static str,
    /// The audience of its access tokens.
    audience: &'static str,
    /// The audiences of its ID, refresh and logout tokens.
    clients: &'static [&'static str],
    /// File, key set, fate; without `.jwt`, and without `jwks` and `.json`.
    tokens: &'static [(&'static str, &'static str, Fate)],
}

const KEYCLOAK: &str = "https://localhost:21443/realms/demo";

/// A moment for tokens whose folder has none and that have no `iat` themselves.
const THAT_DAY: u64 = 1_796_006_760;

const SERVERS: &[Server] = &[
    Server {
        folder: "real-keycloak",
        recipe: "keycloak",
        issuer: KEYCLOAK,
        audience: "orders-api",
        clients: &["web.app", KEYCLOAK],
        tokens: &[
            ("access_token", "", Passes),
            ("access_token", ".rotated", Passes),
            ("access_token", ".retired", Refused(NoKey)),
            ("access_token.rotated", ".rotated", Passes),
            ("access_token.rotated", ".retired", Passes),
            ("access_token.rotated", "", Refused(NoKey)),
            ("access_token.retired", ".retired", Passes),
            ("access_token.ES256", "", Short(Role)),
            ("access_token.ES384", "", Short(Role)),
            ("access_token.ES512", "", Short(Role)),
            ("access_token.EdDSA", "", Short(Role)),
            ("access_token.PS256", "", Short(Role)),
            ("access_token.RS512", "", Short(Role)),
            ("access_token.at-jwt", "", Short(Role)),
            ("access_token.aud-by-mapper", "", Short(Role)),
            ("access_token.no-role", "", Short(Role)),
            ("access_token.custom-audience", "", Short(Role)),
            ("access_token.expired", "", Short(Role)),
            // Its audience is there because of a role: nobody meant it for this service.
            ("access_token.client-credentials", "", Short(Scope)),
            ("access_token.client-credentials-audience", "", Passes),
            ("access_token.full-jwt-accepted", "", Passes),
            ("access_token.introspected", "", Passes),
            ("access_token.of-logout-session", "", Passes),
            ("access_token.refreshed", "", Passes),
            ("access_token.stepup-plain", "", Passes),
            ("access_token.stepup-silver", "", Passes),
            ("access_token.stepup-gold", "", Passes),
            ("access_token.umlaut", "", Passes),
            // Meant for another client, though its bearer has a role of this one.
            ("access_token.exchanged", "", Refused(Audience)),
            ("access_token.lightweight", "", Refused(Audience)),
            ("access_token.lightweight-client-credentials", "", Refused(Audience)),
            ("access_token.lightweight-jwt-accepted", "", Refused(Audience)),
            ("access_token.lightweight-dpop", "", Refused(Audience)),
            ("access_token.dpop", "", Refused(Bound)),
            ("access_token.dpop.EdDSA", "", Refused(Bound)),
            ("access_token.dpop-introspected", "", Refused(Bound)),
            ("access_token.mtls", "", Refused(Bound)),
            ("id_token", "", Other(Invalid)),
            ("logout_token", "", Other(Type)),
            ("refresh_token", "", Other(Reason::AlgorithmNotAllowed)),
        ],
    },
    Server {
        folder: "real-keycloak",
        recipe: "keycloak-client-credentials",
        issuer: KEYCLOAK,
        audience: "svc-a",
        clients: &["web.app"],
        tokens: &[
            ("access_token.client-credentials", "", Passes),
            ("access_token.client-credentials-audience", "", Refused(Audience)),
            ("access_token", "", Refused(Audience)),
            ("id_token", "", Other(Invalid)),
            ("logout_token", "", Other(Type)),
            ("refresh_token", "", Other(Reason::AlgorithmNotAllowed)),
        ],
    },
    Server {
        folder: "real-hydra",
        recipe: "hydra",
        issuer: "http://127.0.0.1:22100/",
        audience: "orders",
        clients: &["webjwt", "web"],
        tokens: &[
            ("access_token", "", Passes),
            ("access_token", ".retired", Refused(NoKey)),
            ("access_token.user", "", Passes),
            ("access_token.rotated", ".rotated", Passes),
            ("access_token.rotated", "", Refused(NoKey)),
            ("access_token.retired", ".retired", Passes),
            ("id_token", "", Other(Missing)),
            ("logout_token", "", Other(Type)),
        ],
    },
    Server {
        folder: "real-oidc-provider-opaque",
        recipe: "oidc-provider",
        issuer: "http://127.0.0.1:22010",
        audience: "https://orders.example.com/",
        clients: &["web", "gate-signed", "gate-signed-es"],
        tokens: &[
            ("access_token", "", Passes),
            ("access_token", ".retired", Refused(NoKey)),
            ("access_token.user", "", Passes),
            ("access_token.ES256", "", Passes),
            ("access_token.ES384", "", Passes),
            ("access_token.ES512", "", Passes),
            ("access_token.Ed25519", "", Passes),
            ("access_token.PS256", "", Passes),
            ("access_token.PS384", "", Passes),
            ("access_token.PS512", "", Passes),
            ("access_token.RS384", "", Passes),
            ("access_token.RS512", "", Passes),
            ("access_token.rotated", ".rotated", Passes),
            ("access_token.rotated", "", Refused(NoKey)),
            ("access_token.retired", ".retired", Passes),
            ("access_token.dpop", "", Refused(Bound)),
            ("access_token.mtls", "", Refused(Bound)),
            ("id_token", "", Other(Type)),
            ("logout_token", "", Other(Type)),
        ],
    },
    Server {
        folder: "real-spring-authorization-server",
        recipe: "spring",
        issuer: "http://127.0.0.1:22300",
        audience: "orders",
        clients: &["webjwt"],
        tokens: &[
            ("access_token", "", Passes),
            ("access_token.user", "", Passes),
            ("access_token.dpop", "", Refused(Bound)),
            ("id_token", "", Other(Missing)),
        ],
    },
    Server {
        folder: "real-zitadel-oidc",
        recipe: "zitadel",
        issuer: "http://127.0.0.1:22200/",
        audience: "69234237810729019",
        clients: &["web"],
        tokens: &[("id_token", "", Other(Missing))],
    },
    Server {
        folder: "real-canaille-introspection",
        recipe: "canaille",
        issuer: "http://127.0.0.1:22400",
        audience: "svc-a",
        clients: &[],
        tokens: &[("access_token.user", "", Passes)],
    },
    Server {
        folder: "real-glewlwyd-introspection",
        recipe: "glewlwyd",
        issuer: "http://127.0.0.1:22450/api/oidc",
        audience: "https://orders.example.com/",
        clients: &[],
        tokens: &[("access_token", "", Passes), ("access_token.scopes-as-aud", "", Refused(Audience))],
    },
    Server {
        folder: "real-kubernetes",
        recipe: "kubernetes-sa",
        issuer: "https://kubernetes.default.svc.cluster.local",
        audience: "orders",
        clients: &[],
        tokens: &[
            ("access_token", "", Passes),
            ("access_token", ".rotated", Passes),
            ("access_token.aud", "", Passes),
            ("access_token.aud2", "", Passes),
            ("access_token.secret", "", Passes),
            ("access_token.node", "", Passes),
            ("access_token.short", "", Passes),
            ("access_token.day", "", Refused(Reason::LifetimeExceeded)),
            ("access_token.hugelong", "", Refused(Reason::LifetimeExceeded)),
            ("access_token.rotated", ".rotated", Passes),
            ("access_token.rotated", "", Refused(NoKey)),
            ("access_token.other-account", "", Short(Claim)),
            ("access_token.plain", "", Refused(Audience)),
            ("access_token.emptyaud", "", Refused(Audience)),
            ("access_token.blankaud", "", Refused(Audience)),
            ("access_token.hour-pod-3607", "", Refused(Reason::LifetimeExceeded)),
            ("access_token.legacy-secret", "", Refused(Reason::IssuerUnknown)),
        ],
    },
    Server {
        folder: "real-spire",
        recipe: "spire",
        // The recipe binds the keys to a trust domain instead.
        issuer: "",
        audience: "spiffe://example.org/orders",
        clients: &[],
        tokens: &[
            ("jwt_svid", "", Passes),
            ("jwt_svid", ".rotated", Passes),
            ("jwt_svid", ".retired", Refused(NoKey)),
            ("jwt_svid.rotated", ".rotated", Passes),
            ("jwt_svid.rotated", "", Refused(NoKey)),
            ("jwt_svid.two-audiences", "", Passes),
            ("jwt_svid.other-audience", "", Refused(Audience)),
            ("jwt_svid.other-workload", "", Short(Claim)),
            ("jwt_svid.rsa", "", Refused(Audience)),
        ],
    },
];

impl Server {
    fn find(recipe: &str) -> &'static Self {
        SERVERS.iter().find(|server| server.recipe == recipe).expect("a server")
    }

    /// The recipe with this issuer, these audiences and these keys.
    fn config(&self, audiences: &[&str], keys: &str) -> Value {
        let mut config = recipe(self.recipe);
        let provider = the_provider(&mut config);
        let provider = provider.as_object_mut().expect("a provider");
        let remote = provider.remove("remote_jwks").or_else(|| provider.remove("discovery"));
        assert!(remote.is_some(), "{}: a source of keys", self.recipe);
        assert!(provider.contains_key("audiences"), "{}: audiences", self.recipe);
        assert_eq!(provider.contains_key("issuer"), !self.issuer.is_empty(), "{}: issuer", self.recipe);
        if !self.issuer.is_empty() {
            provider.insert("issuer".to_owned(), json!(self.issuer));
        }
        provider.insert("audiences".to_owned(), json!(audiences));
        provider.insert("local_jwks".to_owned(), json!({ "inline_string": keys }));
        config
    }

    /// The same for a service that logs people in with its own client, and takes tokens without an end.
    fn widened(&self, keys: &str) -> Value {
        let audiences: Vec<_> = [self.audience].iter().chain(self.clients).copied().collect();
        let mut config = self.config(&audiences, keys);
        the_provider(&mut config)["require_expiration"] = json!(false);
        config
    }
}

fn recipe(name: &str) -> Value {
    let path = workspace().join("envoy/providers").join(name).with_extension("yaml");
    serde_norway::from_str(&judge::contents(&path)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn the_provider(config: &mut Value) -> &mut Value {
    let providers = config["providers"].as_object_mut().expect("providers");
    assert_eq!(providers.len(), 1, "one provider a recipe");
    providers.values_mut().next().expect("a provider")
}

fn decoded(token: &str) -> (Value, Value) {
    let [header, claims, _] = parts(token);
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("JSON") };
    (json(&header), json(&claims))
}

/// When a token holds: as the folder says, or from the moment on at which it was made.
fn moment(folder: &Folder, claims: &Value) -> u64 {
    if folder.has("verify_at") {
        return folder.text("verify_at").parse().expect("a time");
    }
    claims["iat"].as_u64().unwrap_or(THAT_DAY)
}

/// What becomes of a request with this field `authorization`.
fn decided(config: &Value, authorization: &str, at: u64) -> Result<(), Reason> {
    let fields = [(":method", "GET"), (":path", "/orders"), ("authorization", authorization)];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let now = Timestamp::from_secs(at);
    let [portable, host] = backends().map(|(_, backend)| {
        let config = Config::parse(config.to_string().as_bytes(), &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut gate = Gate::new(config, Environment { backend, ..Environment::alone(1) }, now);
        match gate.decide(StreamId(1), &Request::new(&fields), now) {
            Outcome::Allow(_) => Ok(()),
            Outcome::Deny(refusal) => Err(refusal.response.reason),
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => panic!("keys are there"),
        }
    });
    assert_eq!(portable, host, "the backends disagree (portable, host)");
    portable
}

fn bearer(config: &Value, token: &str, at: u64) -> Result<(), Reason> {
    decided(config, &format!("Bearer {token}"), at)
}

#[test]
pub(crate) fn every_captured_token_is_judged_as_what_it_is() {
    let mut complaints = Vec::new();
    for root in made::captured() {
        every_token_is_judged_as_what_it_is(&root, &mut complaints);
    }
    judge::settle(&complaints);
}

fn every_token_is_judged_as_what_it_is(root: &Root, complaints: &mut Vec<String>) {
    for server in SERVERS {
        let folder = root.folder(server.folder);
        for (name, set, fate) in server.tokens {
            let token = folder.text(&format!("{name}.jwt"));
            let keys = folder.text(&format!("jwks{set}.json"));
            let (_, claims) = decoded(&token);
            let at = moment(&folder, &claims);
            let what = format!("{}: {name} under jwks{set}.json", server.recipe);
            let mut expect = |what: &str, got: Result<(), Reason>, expected: Result<(), Reason>| {
                if got != expected {
                    complaints.push(format!("{what}: {got:?}, not {expected:?}"));
                }
            };
            let config = server.config(&[server.audience], &keys);
            let plain = bearer(&config, &token, at);
            match *fate {
                Passes | Short(_) => {
                    expect(&what, plain, if let Short(reason) = *fate { Err(reason) } else { Ok(()) });
                    let mut open = config.clone();
                    open["rules"][0].as_object_mut().expect("a rule").remove("authorize");
                    expect(&format!("{what}, no rule"), bearer(&open, &token, at), Ok(()));
                    let bent = bearer(&open, &flip_bit(&token), at);
                    expect(&format!("{what}, a bit turned"), bent, Err(Reason::SignatureInvalid));
                    let end = claims["exp"].as_u64().expect("exp");
                    expect(&format!("{what}, before its end"), bearer(&open, &token, end), Ok(()));
                    let late = bearer(&open, &token, end + 61);
                    expect(&format!("{what}, after its end"), late, Err(Reason::Expired));
                }
                Refused(reason) => {
                    expect(&what, plain, Err(reason));
                    // A bound token is one in its own scheme too.
                    if reason == Bound {
                        expect(&what, decided(&config, &format!("DPoP {token}"), at), Err(reason));
                    }
                }
                Other(reason) => {
                    expect(&what, plain.map_err(|_| reason), Err(reason));
                    let got = bearer(&server.widened(&keys), &token, at);
                    expect(&format!("{what}, its audience listed"), got, Err(reason));
                }
            }
        }
    }
}

/// Whatever else a server signs or hands out is no access token: signed answers, proofs, opaque tokens.
#[test]
pub(crate) fn nothing_that_is_not_listed_passes() {
    for root in made::captured() {
        let others: usize = SERVERS.iter().map(|server| others_are_refused(&root, server)).sum();
        let expected = if matches!(root, Root::Made(_)) { 10 } else { 25 };
        assert!(others >= expected, "{others}");
    }
}

/// How many tokens of a server there are besides the listed ones. None of them passes.
fn others_are_refused(root: &Root, server: &Server) -> usize {
    let folder = root.folder(server.folder);
    let of_the_folder = SERVERS.iter().filter(|other| other.folder == server.folder);
    let listed: BTreeSet<_> =
        of_the_folder.flat_map(|other| other.tokens.iter().map(|(name, ..)| format!("{name}.jwt"))).collect();
    let config = server.widened(&folder.text("jwks.json"));
    let at = moment(&folder, &json!({}));
    let mut others = 0;
    for name in folder.names() {
        let token = if name.starts_with("token-response") && name.ends_with(".json") {
            // What the server hands out as a refresh token passes nowhere.
            let response = folder.document(&name);
            let Some(token) = response["refresh_token"].as_str() else { continue };
            token.to_owned()
        } else if [".jwt", ".txt"].iter().any(|end| name.ends_with(end)) && !listed.contains(&name) {
            let is_other = ["introspection.", "proof."].iter().any(|kind| name.starts_with(kind));
            assert!(is_other || name.ends_with(".txt"), "{}/{name} has no row", server.folder);
            folder.text(&name)
        } else {
            continue;
        };
        assert!(bearer(&config, &token, at).is_err(), "{}: {name} passes", server.recipe);
        others += 1;
    }
    others
}

/// A recipe asks for keys where the server's own document says that they are, and is good without a warning.
#[test]
pub(crate) fn a_recipe_asks_its_server_for_keys() {
    for root in made::captured() {
        every_recipe_asks_its_server(&root);
    }
    for name in CAPTURED {
        Server::find(name);
    }
}

fn every_recipe_asks_its_server(root: &Root) {
    let path = |uri: &str| uri.splitn(4, '/').nth(3).expect("a path").to_owned();
    for server in SERVERS {
        let mut config = recipe(server.recipe);
        let parsed = Config::parse(config.to_string().as_bytes(), &|_| None);
        let warnings = parsed.unwrap_or_else(|problems| panic!("{}: {problems:?}", server.recipe)).warnings;
        assert!(warnings.is_empty(), "{}: {warnings:?}", server.recipe);
        let provider = the_provider(&mut config);
        let uri = provider["remote_jwks"]["http_uri"]["uri"].as_str().unwrap_or_default();
        // The library's example server has its keys at another path than the product; a SPIFFE bundle is in no metadata.
        if uri.is_empty() || ["spire", "zitadel"].contains(&server.recipe) {
            continue;
        }
        let document = root.folder(server.folder).document("discovery.json");
        assert_eq!(path(uri), path(judge::text(&document, "jwks_uri")), "{}", server.recipe);
        assert_eq!(judge::text(&document, "issuer"), server.issuer, "{}", server.recipe);
    }
}

/// A kind of token that was not captured, after what the server's code makes.
struct Made {
    recipe: &'static str,
    header: &'static str,
    claims: &'static str,
    fate: Fate,
}

const MADE: &[Made] = &[
    Made {
        recipe: "zitadel",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"sub":"id1","aud":["web","69234237810729019"],"jti":"V2_1","client_id":"web",
            "urn:zitadel:iam:org:project:roles":{"reader":{"1":"corp.example"}}}"#,
        fate: Passes,
    },
    Made {
        recipe: "zitadel",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"sub":"id1","aud":["web","69234237810729019"],"jti":"V2_1",
            "urn:zitadel:iam:org:project:roles":{"writer":{"1":"reader"}}}"#,
        fate: Short(Role),
    },
    // An ID token of a server that gives it a `jti`.
    Made {
        recipe: "zitadel",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"sub":"id1","aud":["web","69234237810729019"],"jti":"V2_2","azp":"web","client_id":"web",
            "at_hash":"NVEGTLbEHJHi-dvGOuTu-g","urn:zitadel:iam:org:project:roles":{"reader":{"1":"corp.example"}}}"#,
        fate: Other(Invalid),
    },
    Made {
        recipe: "canaille",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"sub":"alice","aud":["svc-a"],"email":"alice@example.com","at_hash":"bS41u4S5vYAmgGSfzADLhA"}"#,
        fate: Other(Invalid),
    },
    Made {
        recipe: "canaille",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"sub":"alice","aud":["svc-a"],"email":"alice@example.com","nonce":"n1"}"#,
        fate: Other(Invalid),
    },
    Made {
        recipe: "canaille",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"sub":"alice","aud":["svc-a"],"email":"alice@example.com",
            "events":{"http://schemas.openid.net/event/backchannel-logout":{}}}"#,
        fate: Other(Type),
    },
    Made {
        recipe: "spring",
        header: "{}",
        claims: r#"{"sub":"alice","aud":"webjwt","scope":["orders.read"],
            "events":{"http://schemas.openid.net/event/backchannel-logout":{}}}"#,
        fate: Other(Type),
    },
    Made {
        recipe: "glewlwyd",
        header: r#"{"typ":"JWT"}"#,
        claims: r#"{"sub":"alice","aud":"https://orders.example.com/","scope":"orders.read","nonce":"n1"}"#,
        fate: Other(Type),
    },
];

impl Made {
    /// The claims and the header with what all tokens have.
    fn parts(&self, at: u64) -> (Value, Value) {
        let mut claims: Value = serde_json::from_str(self.claims).expect("claims");
        claims["iss"] = json!(Server::find(self.recipe).issuer);
        claims["iat"] = json!(at);
        claims["exp"] = json!(at + 300);
        (serde_json::from_str(self.header).expect("a header"), claims)
    }
}

fn own_key() -> Key {
    Key::cached(Alg::RS256, "ours")
}

/// A token with this header and these claims, signed with our key.
fn signed(header: &Value, claims: &Value) -> String {
    let mut header = header.clone();
    header["alg"] = json!("RS256");
    header["kid"] = json!("ours");
    own_key().sign_jws(&header, claims.to_string().as_bytes())
}

#[test]
pub(crate) fn kinds_of_tokens_that_were_not_captured_are_told_apart_too() {
    let keys = json!({ "keys": [own_key().public_jwk()] }).to_string();
    for made in MADE {
        let server = Server::find(made.recipe);
        let (header, claims) = made.parts(THAT_DAY);
        let expected = match made.fate {
            Passes => Ok(()),
            Short(reason) | Refused(reason) | Other(reason) => Err(reason),
        };
        let got = bearer(&server.widened(&keys), &signed(&header, &claims), THAT_DAY);
        assert_eq!(got, expected, "{}: {claims}", made.recipe);
    }
}

/// The recipes that the other test on an Envoy does not have, and Keycloak's, in one filter. The claims are the server's,
/// made new and signed with our key, for the tokens have ended.
#[test]
pub(crate) fn the_recipes_of_servers_that_ran_hold_on_an_envoy() {
    for root in made::captured() {
        all_hold_on_an_envoy(&root);
    }
}

fn all_hold_on_an_envoy(root: &Root) {
    let keys = json!({ "keys": [own_key().public_jwk()] }).to_string();
    let recipes: Vec<_> =
        CAPTURED.iter().copied().chain(["keycloak", "keycloak-client-credentials"]).collect();
    let mut config = json!({ "providers": {}, "rules": [] });
    let mut requests = Vec::new();
    for name in recipes {
        let server = Server::find(name);
        let mut one = server.widened(&keys);
        config["providers"][name] = the_provider(&mut one).clone();
        let mut rule = one["rules"][0].clone();
        rule["name"] = json!(name);
        rule["match"] = json!({ "prefix": format!("/{name}/") });
        rule["requires"] = json!({ "provider_name": name });
        config["rules"].as_array_mut().expect("a list").push(rule);
        let folder = root.folder(server.folder);
        for (file, _, fate) in server.tokens {
            // Our key signs no HS512, and a set without the key is not what this is about.
            if matches!(fate, Refused(NoKey) | Other(Reason::AlgorithmNotAllowed)) {
                continue;
            }
            let (header, claims) = decoded(&folder.text(&format!("{file}.jwt")));
            requests.push((name, (*file).to_owned(), header, claims, *fate));
        }
        for (at, made) in MADE.iter().enumerate().filter(|(_, made)| made.recipe == name) {
            let (header, claims) = made.parts(0);
            requests.push((name, format!("made-{at}"), header, claims, made.fate));
        }
    }
    let upstream = Upstream::start();
    let envoy =
        Envoy::builder().shared().upstream(&upstream).filter(Wasm::portcullis(config).as_struct()).start();
    let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
    let (mut passed, mut complaints) = (0, Vec::new());
    for (name, file, header, mut claims, fate) in requests {
        for (date, from_now) in [("iat", 0), ("nbf", 0), ("auth_time", 0), ("exp", 600)] {
            if claims.get(date).is_some() {
                claims[date] = json!(now() + from_now);
            }
        }
        // Under the widened recipe a client of its own is an audience, which one of the captured tokens has.
        let widened = matches!(fate, Refused(Audience)) && claims.to_string().contains("web.app");
        let status = match fate {
            _ if widened => continue,
            Passes => 200,
            Short(_) => 403,
            Refused(_) | Other(_) => 401,
        };
        let request = harness::Request::get(format!("/{name}/{file}")).bearer(&signed(&header, &claims));
        let response = request.send(envoy.addr());
        passed += usize::from(status == 200);
        if response.status != status {
            complaints.push(format!(
                "{name}: {file}: {}, not {status}: {}",
                response.status,
                response.text()
            ));
        }
    }
    judge::settle(&complaints);
    assert!(passed >= 30, "{passed}");
    assert_eq!(upstream.take().len(), passed, "what is refused does not reach the upstream");
    assert_sound(&envoy);
}
