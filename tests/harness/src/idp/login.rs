//! Logging users in: what a client needs that comes with nothing but this provider's metadata.
//!
//! Clients register themselves (RFC 7591), send a browser to `/authorize`, and turn the code that it brings back into
//! tokens. It is a demo: the user is alice, and she is asked nothing. What the protocol asks for is kept, though: codes
//! count once and for a minute, PKCE with S256 is required (RFC 7636), a redirect URI must be one that was registered, to
//! the letter, the answer says whose it is (RFC 9207), a token is for the one resource that was named (RFC 8707), and a
//! refresh token, for who asks for `offline_access`, counts once.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

use super::behaviour::respond;
use super::key::{b64, random};
use super::{Shared, now};

/// For how many seconds a code counts.
const CODE_SECONDS: i64 = 60;
/// For how many seconds a token counts where nobody asked for something else.
const TOKEN_SECONDS: i64 = 300;
/// How much of each kind it remembers; then it takes no more.
const MAX_KEPT: usize = 10_000;

/// Who registered, and what was granted.
#[derive(Default)]
pub(super) struct Logins {
    clients: HashMap<String, Client>,
    codes: HashMap<String, Code>,
    refresh_tokens: HashMap<String, Grant>,
    /// For how long tokens count that are issued from now on.
    token_seconds: Option<i64>,
    /// What was granted, without any token.
    granted: Vec<Value>,
}

struct Client {
    name: Value,
    redirect_uris: Vec<String>,
    refreshes: bool,
}

struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: String,
    expires: i64,
    is_used: bool,
}

/// What alice lets a client do.
#[derive(Clone)]
struct Grant {
    /// The log-in that it comes from: all of it ends when its code is used again.
    login: String,
    client_id: String,
    scope: String,
    resource: Option<String>,
}

/// An error of RFC 6749 and what is wrong.
type Refusal = (&'static str, String);

/// The parameters of a form or a query, each of them at most once (RFC 6749 section 3.1).
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    pub(super) fn read(form: &[u8]) -> Result<Self, String> {
        let mut all = HashMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if all.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        // One without a value counts as left out.
        all.retain(|_, value| !value.is_empty());
        Ok(Self(all))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| ("invalid_request", format!("{name} is missing")))
    }
}

impl Shared {
    /// Registers a client (RFC 7591). Each is a public one: nothing here takes a secret.
    pub(super) fn register(&self, asked: &Value) -> Response {
        let texts = |name: &str| -> Option<Vec<String>> {
            asked[name].as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let redirect_uris = texts("redirect_uris").unwrap_or_default();
        if redirect_uris.is_empty() || !redirect_uris.iter().all(|uri| may_be_sent_to(uri)) {
            let why =
                "redirect_uris is a list of https:// URIs, or http:// ones on loopback, without a fragment";
            return refuse(400, &("invalid_redirect_uri", why.to_owned()));
        }
        let grant_types = texts("grant_types").unwrap_or_else(|| vec!["authorization_code".to_owned()]);
        if !grant_types.iter().any(|one| one == "authorization_code") {
            let why = "grant_types must have authorization_code".to_owned();
            return refuse(400, &("invalid_client_metadata", why));
        }
        let client_id = b64(random(16));
        let mut answer = json!({
            "client_id": client_id,
            "client_id_issued_at": now(),
            "redirect_uris": redirect_uris,
            "grant_types": grant_types.iter().filter(|one| GRANTS.contains(&one.as_str())).collect::<Vec<_>>(),
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        for name in ["client_name", "scope", "application_type"] {
            if asked[name].is_string() {
                answer[name] = asked[name].clone();
            }
        }
        let refreshes = grant_types.iter().any(|one| one == "refresh_token");
        let client = Client { name: asked["client_name"].clone(), redirect_uris, refreshes };
        let clients = &mut self.lock().logins.clients;
        if clients.len() >= MAX_KEPT {
            return refuse(503, &("temporarily_unavailable", "enough clients have registered".to_owned()));
        }
        clients.insert(client_id, client);
        json_response(201, &answer)
    }

    /// The authorization endpoint: alice is logged in at once, and her browser sent back with a code.
    pub(super) fn authorize(&self, query: &[u8]) -> Response {
        let asked = match Parameters::read(query) {
            Ok(asked) => asked,
            Err(why) => return refuse(400, &("invalid_request", why)),
        };
        // Whoever asks for another place than the client registered is sent nowhere.
        let redirect_uri = match self.redirect_uri(&asked) {
            Ok(uri) => uri,
            Err(refusal) => return refuse(400, &refusal),
        };
        let mut answer: Vec<(&str, String)> = match self.grant_code(&asked, &redirect_uri) {
            Ok(code) => vec![("code", code)],
            Err((error, why)) => vec![("error", error.to_owned()), ("error_description", why)],
        };
        if let Some(state) = asked.get("state") {
            answer.push(("state", state.to_owned()));
        }
        answer.push(("iss", self.issuer.clone()));
        let answer = form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish();
        let separator = if redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{redirect_uri}{separator}{answer}");
        respond(302, &[(LOCATION.as_str(), &location), (CACHE_CONTROL.as_str(), "no-store")], String::new())
    }

    fn redirect_uri(&self, asked: &Parameters) -> Result<String, Refusal> {
        let (client_id, uri) = (asked.need("client_id")?, asked.need("redirect_uri")?);
        let state = self.lock();
        let client = state.logins.clients.get(client_id);
        let client =
            client.ok_or_else(|| ("invalid_request", "this client has not registered".to_owned()))?;
        match client.redirect_uris.iter().any(|registered| registered == uri) {
            true => Ok(uri.to_owned()),
            false => Err(("invalid_request", "the client has not registered this redirect_uri".to_owned())),
        }
    }

    fn grant_code(&self, asked: &Parameters, redirect_uri: &str) -> Result<String, Refusal> {
        if asked.need("response_type")? != "code" {
            return Err(("unsupported_response_type", "response_type is code".to_owned()));
        }
        let challenge = asked.need("code_challenge")?;
        if asked.get("code_challenge_method") != Some("S256") || challenge.len() != 43 {
            return Err(("invalid_request", "code_challenge_method is S256".to_owned()));
        }
        let resource = asked.get("resource");
        if resource.is_some_and(|resource| !resource.contains("://") || resource.contains('#')) {
            return Err(("invalid_target", "resource is an absolute URI without a fragment".to_owned()));
        }
        let code = b64(random(32));
        let grant = Grant {
            login: code.clone(),
            client_id: asked.need("client_id")?.to_owned(),
            scope: asked.get("scope").unwrap_or_default().to_owned(),
            resource: resource.map(str::to_owned),
        };
        let code_of = Code {
            grant,
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.to_owned(),
            expires: now() + CODE_SECONDS,
            is_used: false,
        };
        let codes = &mut self.lock().logins.codes;
        codes.retain(|_, code| now() < code.expires);
        if codes.len() >= MAX_KEPT {
            return Err(("temporarily_unavailable", "too many are logging in".to_owned()));
        }
        codes.insert(code.clone(), code_of);
        Ok(code)
    }

    /// The token endpoint, for the two ways in which a client that logged somebody in comes to tokens.
    pub(super) fn redeem(&self, form: &Parameters) -> Response {
        let grant = match form.get("grant_type") {
            Some("authorization_code") => self.redeem_code(form),
            _ => self.refresh(form),
        };
        match grant {
            Ok(grant) => self.issue_to(form, &grant),
            Err(refusal) => refuse(400, &refusal),
        }
    }

    fn redeem_code(&self, form: &Parameters) -> Result<Grant, Refusal> {
        let invalid = |why: &str| Err(("invalid_grant", why.to_owned()));
        let (code, verifier) = (form.need("code")?, form.need("code_verifier")?);
        let (client_id, redirect_uri) = (form.need("client_id")?, form.need("redirect_uri")?);
        let logins = &mut self.lock().logins;
        let Some(known) = logins.codes.get_mut(code) else { return invalid("nobody was given this code") };
        if std::mem::replace(&mut known.is_used, true) {
            // Two have it, and one of them is a thief (RFC 6749 section 4.1.2).
            logins.refresh_tokens.retain(|_, grant| grant.login != code);
            return invalid("this code was used before");
        }
        if known.expires <= now() {
            return invalid("this code has expired");
        }
        if known.grant.client_id != client_id || known.redirect_uri != redirect_uri {
            return invalid("this code was given to another client, or for another redirect_uri");
        }
        if b64(digest(&SHA256, verifier.as_bytes())) != known.challenge {
            return invalid("code_verifier does not match code_challenge");
        }
        same_resource(form, &known.grant)?;
        Ok(known.grant.clone())
    }

    fn refresh(&self, form: &Parameters) -> Result<Grant, Refusal> {
        let (token, client_id) = (form.need("refresh_token")?, form.need("client_id")?);
        let logins = &mut self.lock().logins;
        let known = logins.refresh_tokens.get(token).filter(|grant| grant.client_id == client_id);
        let mut grant = known
            .cloned()
            .ok_or_else(|| ("invalid_grant", "this refresh_token counts no more".to_owned()))?;
        same_resource(form, &grant)?;
        if let Some(scope) = form.get("scope") {
            let granted: Vec<&str> = grant.scope.split(' ').collect();
            if !scope.split(' ').all(|one| granted.contains(&one)) {
                return Err(("invalid_scope", "scope names what was not granted".to_owned()));
            }
            scope.clone_into(&mut grant.scope);
        }
        logins.refresh_tokens.remove(token);
        Ok(grant)
    }

    fn issue_to(&self, form: &Parameters, grant: &Grant) -> Response {
        let lifetime = self.lock().logins.token_seconds.unwrap_or(TOKEN_SECONDS);
        let audience = grant.resource.as_deref().unwrap_or(&self.audience);
        let token = self.mint().expires_in(lifetime).header("typ", "at+jwt").claims(json!({
            "aud": audience, "scope": grant.scope, "client_id": grant.client_id, "jti": b64(random(12)),
        }));
        let token = token.sign();
        let logins = &mut self.lock().logins;
        let mut answer = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": grant.scope,
        });
        let client = logins.clients.get(&grant.client_id);
        // Only for one that asks for it: there are clients that refresh where they should ask for another scope, and give up.
        let lasts = grant.scope.split(' ').any(|scope| scope == OFFLINE_ACCESS);
        if lasts && client.is_some_and(|client| client.refreshes) && logins.refresh_tokens.len() < MAX_KEPT {
            let refresh_token = b64(random(32));
            answer["refresh_token"] = json!(refresh_token);
            logins.refresh_tokens.insert(refresh_token, grant.clone());
        }
        if logins.granted.len() < MAX_KEPT {
            let name = logins.clients.get(&grant.client_id).map_or(Value::Null, |client| client.name.clone());
            logins.granted.push(json!({
                "grant_type": form.get("grant_type"), "client_name": name, "scope": grant.scope,
                "resource": grant.resource, "expires_in": lifetime,
            }));
        }
        json_response(200, &answer)
    }

    /// What was granted so far, in order, without any token.
    pub(super) fn granted(&self) -> Response {
        json_response(200, &json!(self.lock().logins.granted))
    }

    /// For how many seconds the tokens count that clients are issued from now on.
    pub(super) fn set_token_seconds(&self, seconds: i64) {
        self.lock().logins.token_seconds = Some(seconds);
    }
}

/// The scope of a log-in that lasts longer than a token.
pub(super) const OFFLINE_ACCESS: &str = "offline_access";

/// The grants of clients that registered.
pub(super) const GRANTS: [&str; 2] = ["authorization_code", "refresh_token"];

/// A client may name its resource again, and no other.
fn same_resource(form: &Parameters, grant: &Grant) -> Result<(), Refusal> {
    match form.get("resource") {
        Some(resource) if grant.resource.as_deref() != Some(resource) => {
            Err(("invalid_target", "this was granted for another resource".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether a browser may be sent there with a code: over TLS, or to a program on its own machine (RFC 8252).
fn may_be_sent_to(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let is_visible = uri.bytes().all(|byte| byte.is_ascii_graphic());
    let is_near = ["127.0.0.1", "localhost", "[::1]"].contains(&host);
    is_visible && !uri.contains('#') && !host.is_empty() && (scheme == "https" || scheme == "http" && is_near)
}

fn refuse(status: u16, (error, why): &Refusal) -> Response {
    json_response(status, &json!({ "error": error, "error_description": why }))
}

fn json_response(status: u16, value: &Value) -> Response {
    let headers = [(CONTENT_TYPE.as_str(), "application/json"), (CACHE_CONTROL.as_str(), "no-store")];
    respond(status, &headers, format!("{value}\n"))
}
