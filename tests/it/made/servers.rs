//! The folders of servers: tokens, key sets through a rotation, and answers about tokens.

use std::collections::BTreeMap;

use harness::idp::b64;
use harness::{Alg, Key};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Files;
use crate::key_forms::certificate;

/// A row of `servers.yaml`, which says what each member is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    issued: u64,
    #[serde(default = "an_hour")]
    lifetime: u64,
    #[serde(default)]
    header: Map<String, Value>,
    claims: Map<String, Value>,
    keys: BTreeMap<String, String>,
    #[serde(default)]
    plain: bool,
    sets: BTreeMap<String, Vec<String>>,
    tokens: BTreeMap<String, Token>,
    #[serde(default)]
    proofs: BTreeMap<String, Proof>,
    /// The name of the file with the client's certificate.
    certificate: Option<String>,
    asked: Option<Asked>,
    #[serde(default)]
    answer: Map<String, Value>,
    #[serde(default)]
    answers: BTreeMap<String, Answer>,
    metadata: Option<String>,
    #[serde(default)]
    others: Files,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    key: Option<String>,
    lifetime: Option<u64>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    token: Option<String>,
    opaque: Option<String>,
    key: String,
    uri: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    path: String,
    field: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    token: Option<String>,
    opaque: Option<String>,
    #[serde(default)]
    answer: Map<String, Value>,
    #[serde(default)]
    inactive: bool,
    signed: Option<Signed>,
    status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    aud: String,
    key: Option<String>,
}

fn an_hour() -> u64 {
    3600
}

/// What the JWK of a key for encryption says of its algorithm.
const ENCRYPTION: &str = "RSA-OAEP";

/// Each server's folder.
pub(super) fn folders() -> BTreeMap<String, Files> {
    let rows: BTreeMap<String, Row> =
        serde_norway::from_str(include_str!("servers.yaml")).unwrap_or_else(|error| panic!("{error}"));
    rows.into_iter().map(|(name, row)| (name.clone(), row.files(&name))).collect()
}

impl Row {
    fn files(self, server: &str) -> Files {
        let mut files = self.others.clone();
        for (file, names) in &self.sets {
            files.insert(file.clone(), self.set(server, file, names).to_string());
        }
        for (name, token) in &self.tokens {
            files.insert(format!("{name}.jwt"), self.token(server, token));
        }
        files.insert("verify_at".to_owned(), self.issued.to_string());
        for (name, proof) in &self.proofs {
            let token = found(&files, proof.token.as_ref(), proof.opaque.as_ref());
            files.insert(format!("{name}.jwt"), proof.sign(&token, self.issued));
        }
        for (name, answer) in &self.answers {
            self.answer(server, name, answer, &mut files);
        }
        if let Some(file) = &self.certificate {
            files.insert(file.clone(), certificate::pem_of(&client("ES256")));
        }
        if let Some(path) = &self.metadata {
            let issuer = self.claims["iss"].as_str().expect("an issuer");
            // Only the path of the endpoint is looked at.
            let document = json!({ "issuer": issuer, "jwks_uri": format!("https://server.example/{path}") });
            files.insert("discovery.json".to_owned(), document.to_string());
        }
        files
    }

    fn key(&self, server: &str, name: &str) -> Key {
        let alg = match self.keys[name].as_str() {
            ENCRYPTION => Alg::RS256,
            alg => alg.parse().expect("an algorithm"),
        };
        Key::cached(alg, &format!("{server} {name}")).with_kid(name)
    }

    /// The key of this name; the first of the key set, where there is none.
    fn signer(&self, server: &str, name: Option<&String>) -> Key {
        self.key(server, name.unwrap_or_else(|| &self.sets["jwks.json"][0]))
    }

    /// A call of the introspection endpoint: what was asked, and what came back.
    fn answer(&self, server: &str, name: &str, answer: &Answer, files: &mut Files) {
        let mut write = |end: &str, text: String| files.insert(format!("introspection.{name}.{end}"), text);
        let asked = self.asked.as_ref().expect("an endpoint");
        let field = asked.field.as_ref().map(|field| format!("{field}\n")).unwrap_or_default();
        let named = answer.token.as_ref().map(|file| format!("<{}>", with_ending(file)));
        let token = named.or(answer.opaque.clone()).expect("a token");
        write("request", format!("POST {} HTTP/1.1\n{field}\ntoken={token}", asked.path));
        write("headers", format!("HTTP/1.1 {}", answer.status.unwrap_or(200)));
        let mut members = Map::from_iter([("active".to_owned(), json!(false))]);
        if !answer.inactive {
            members = Map::from_iter([
                ("iat".to_owned(), json!(self.issued)),
                ("exp".to_owned(), json!(self.issued + 300)),
            ]);
            members.extend(self.answer.clone());
            members.extend(answer.answer.clone());
            members.retain(|_, value| !value.is_null());
            confirmed(&mut members);
        }
        match (&answer.signed, answer.status) {
            (Some(signed), _) => {
                let key = self.signer(server, signed.key.as_ref());
                let issuer = self.claims["iss"].clone();
                let header =
                    json!({ "typ": "token-introspection+jwt", "alg": key.alg().name(), "kid": key.kid() });
                let claims = json!({ "iss": issuer, "aud": signed.aud, "iat": self.issued, "token_introspection": members });
                write("jwt", key.sign_jws(&header, claims.to_string().as_bytes()))
            }
            (None, Some(_)) => write("json", String::new()),
            (None, None) => write("json", Value::Object(members).to_string()),
        };
    }

    fn set(&self, server: &str, file: &str, names: &[String]) -> Value {
        let is_bundle = file.starts_with("bundle.");
        let keys = names.iter().map(|name| {
            let mut jwk = self.key(server, name).public_jwk();
            let members = jwk.as_object_mut().expect("a key");
            if self.plain || is_bundle {
                members.retain(|name, _| !["alg", "use"].contains(&name.as_str()));
            }
            if self.keys[name] == ENCRYPTION {
                jwk["use"] = json!("enc");
                jwk["alg"] = json!(ENCRYPTION);
            }
            // SPIRE's key set for OpenID Connect says no use.
            if server == "real-spire" && !is_bundle {
                jwk.as_object_mut().expect("a key").remove("use");
            }
            if is_bundle {
                jwk["use"] = json!("jwt-svid");
            }
            jwk
        });
        let mut keys: Vec<_> = keys.collect();
        if !is_bundle {
            return json!({ "keys": keys });
        }
        // SPIFFE Trust Domain and Bundle, section 4: the authorities of X.509 stand beside those of JWT.
        let mut authority = Key::cached(Alg::ES256, "an authority").public_jwk();
        let members = authority.as_object_mut().expect("a key");
        members.retain(|name, _| !["alg", "kid"].contains(&name.as_str()));
        authority["use"] = json!("x509-svid");
        keys.insert(0, authority);
        let mut bundle = json!({ "keys": keys, "spiffe_sequence": 1 });
        if !file.contains(".show.") {
            bundle["spiffe_refresh_hint"] = json!(300);
        }
        bundle
    }

    fn token(&self, server: &str, token: &Token) -> String {
        let key = self.signer(server, token.key.as_ref());
        let mut header = self.header.clone();
        header.insert("alg".to_owned(), json!(key.alg().name()));
        header.insert("kid".to_owned(), json!(key.kid()));
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), json!(self.issued));
        claims.insert("jti".to_owned(), json!("made"));
        let lifetime = token.lifetime.unwrap_or(self.lifetime);
        if lifetime > 0 {
            claims.insert("exp".to_owned(), json!(self.issued + lifetime));
        }
        for (all, more) in [(&mut header, &token.header), (&mut claims, &token.claims)] {
            all.extend(more.clone());
            all.retain(|_, value| !value.is_null());
        }
        confirmed(&mut claims);
        key.sign_jws(&Value::Object(header), Value::Object(claims).to_string().as_bytes())
    }
}

impl Proof {
    /// A proof of possession for a GET (RFC 9449 section 4.2).
    fn sign(&self, token: &str, at: u64) -> String {
        let key = client(&self.key);
        let ath = b64(Sha256::digest(token));
        let claims = json!({ "jti": "made", "htm": "GET", "htu": self.uri, "iat": at, "ath": ath });
        let header = json!({ "typ": "dpop+jwt", "alg": key.alg().name(), "jwk": required(&key) });
        key.sign_jws(&header, claims.to_string().as_bytes())
    }
}

/// The client's key.
fn client(alg: &str) -> Key {
    Key::cached(alg.parse().expect("an algorithm"), "a client")
}

/// What a thumbprint is the hash of: the members in their order, whatever order an object has (RFC 7638 section 3).
fn thumbprint_text(key: &Key) -> String {
    let jwk = required(key);
    let members: BTreeMap<_, _> = jwk.as_object().expect("a key").iter().collect();
    serde_json::to_string(&members).expect("JSON")
}

/// The members of a public key that its thumbprint is of (RFC 7638 section 3.2).
fn required(key: &Key) -> Value {
    let mut jwk = key.public_jwk();
    let members = jwk.as_object_mut().expect("a key");
    members.retain(|name, _| ["crv", "kty", "x", "y"].contains(&name.as_str()));
    jwk
}

/// Puts in the place of an algorithm's name the thumbprint of the client's key, and of its certificate.
fn confirmed(claims: &mut Map<String, Value>) {
    let Some(cnf) = claims.get_mut("cnf").and_then(Value::as_object_mut) else { return };
    for (name, value) in cnf {
        let hashed = match name.as_str() {
            "jkt" => thumbprint_text(&client(value.as_str().expect("an algorithm"))).into_bytes(),
            _ => certificate::der_of(&client("ES256")),
        };
        *value = json!(b64(Sha256::digest(hashed)));
    }
}

/// The file of a token: a JWT, where its name does not say otherwise.
fn with_ending(name: &str) -> String {
    if name.ends_with(".txt") { name.to_owned() } else { format!("{name}.jwt") }
}

fn found(files: &Files, file: Option<&String>, opaque: Option<&String>) -> String {
    let named = file.map(|file| files[&with_ending(file)].clone());
    named.or(opaque.cloned()).expect("a token")
}
