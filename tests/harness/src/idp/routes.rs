//! What the identity provider answers over HTTP.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, RawQuery, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};
use tokio::task::block_in_place;
use tower_service::Service;

use super::behaviour::{Behaviour, Endpoint, respond};
use super::key::{Alg, b64, random};
use super::login::{GRANTS, OFFLINE_ACCESS, Parameters};
use super::logout::log_out;
use super::opaque::{Call, GATE, Introspection};
use super::revoked::Named;
use super::{Rule, Shared};
use crate::door::{Door, Serve};
use crate::runtime::runtime;
use crate::wire::{Fuse, Wire};

/// The state and the door, which exist only after the port is bound.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<OnceLock<(Arc<Shared>, Weak<Door>)>>);

impl Slot {
    pub(super) fn fill(&self, state: Arc<Shared>, door: Weak<Door>) {
        let _ = self.0.set((state, door));
    }
}

#[derive(Clone)]
struct App {
    idp: Arc<Shared>,
    door: Weak<Door>,
}

/// Serves HTTP/1.1 and HTTP/2 on each connection.
pub(super) fn serve(slot: Slot) -> Arc<Serve> {
    Arc::new(move |stream| {
        let slot = slot.clone();
        Box::pin(async move {
            let Some((idp, door)) = slot.0.get().cloned() else {
                return;
            };
            let router = router(App { idp, door });
            let fuse = Fuse::default();
            let wire = TokioIo::new(Wire::new(stream, fuse.clone()));
            let service = service_fn(move |request: http::Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(fuse.clone());
                let mut router = router.clone();
                async move {
                    Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
                }
            });
            // A client that goes away in the middle is its own affair.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(wire, service).await;
        })
    })
}

fn router(app: App) -> Router {
    // What a page in a browser asks by itself, whatever its origin is.
    let for_pages = Router::new()
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/register", post(register))
        .route("/token", post(token))
        .route_layer(middleware::from_fn(any_origin));
    for_pages
        .route("/", get(welcome))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/jwks.json", get(keys))
        .route("/authorize", get(authorize))
        .route("/granted", get(granted))
        .route("/token-lifetime", post(token_lifetime))
        .route("/rotate", post(rotate))
        .route("/revoke", post(revoke))
        .route("/logout", post(logout))
        .route("/revoked.json", get(revoked))
        .route("/introspect", post(introspect))
        .route("/behave", post(behave))
        .with_state(app)
}

async fn welcome(State(app): State<App>) -> Response {
    let url = &app.idp.issuer;
    let (client, secret) = GATE;
    let text = format!(
        "A demo identity provider. Issuer: {url}\n\n\
         GET  /jwks.json                           its keys\n\
         GET  /.well-known/openid-configuration    its metadata\n\
         GET  /revoked.json                        the tokens that it revoked\n\
         POST /token     sub, scope, aud, ttl (seconds), alg, any other claim: a token (Accept: text/plain: it alone);\n\
         \x20                 token_format=opaque: one that says nothing by itself\n\
         POST /introspect  token: what it is (RFC 7662); only for the client {client} with the secret {secret}\n\
         POST /register, GET /authorize            clients register and log alice in, who is asked nothing; PKCE only\n\
         POST /token-lifetime  seconds: for how long tokens count that such clients get from now on\n\
         GET  /granted         what they were granted\n\
         POST /rotate    new keys; ?retire=true removes the old ones at once\n\
         POST /revoke    token, or jti: revokes that token\n\
         POST /logout    sid, sub, or token: ends that session, or all of that user, and tells who subscribed\n\
         POST /behave    {{\"mode\": \"well|delay|hang|status|redirect|html|truncated|reset|huge|refuse\", …}}: misbehave\n\n\
         curl -s {url}/token -d sub=alice -d scope='orders:read orders:write'\n"
    );
    respond(200, &[("content-type", "text/plain; charset=utf-8")], text)
}

async fn keys(State(app): State<App>, Extension(fuse): Extension<Fuse>, headers: HeaderMap) -> Response {
    let behaviour = app.idp.meet(Endpoint::Jwks);
    app.idp.lock().fetches.last_jwks_headers = text_of(&headers);
    let good = || {
        let document = app.idp.lock().jwks.clone();
        let document = document.unwrap_or_else(|| app.idp.jwks().to_string().into_bytes());
        cacheable(&app.idp, &headers, &document)
    };
    behaviour.apply(good, &fuse).await
}

fn text_of(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

async fn metadata(State(app): State<App>, Extension(fuse): Extension<Fuse>, headers: HeaderMap) -> Response {
    let behaviour = app.idp.meet(Endpoint::Discovery);
    let good = || {
        let issuer = &app.idp.issuer;
        // The endpoints are named by the host through which the client came, so that it can reach them.
        let base = match headers.get(http::header::HOST).and_then(|host| host.to_str().ok()) {
            Some(host) => format!("http://{host}"),
            None => issuer.trim_end_matches('/').to_owned(),
        };
        let algs: HashSet<&str> = app.idp.lock().keys.iter().map(|key| key.alg().name()).collect();
        let document = json!({
            "issuer": issuer,
            "jwks_uri": format!("{base}/jwks.json"),
            "authorization_endpoint": format!("{base}/authorize"),
            "registration_endpoint": format!("{base}/register"),
            "token_endpoint": format!("{base}/token"),
            "introspection_endpoint": format!("{base}/introspect"),
            "revocation_endpoint": format!("{base}/revoke"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["none"],
            "scopes_supported": [OFFLINE_ACCESS],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algs,
        });
        cacheable(&app.idp, &headers, document.to_string().as_bytes())
    };
    behaviour.apply(good, &fuse).await
}

async fn revoked(State(app): State<App>, Extension(fuse): Extension<Fuse>, headers: HeaderMap) -> Response {
    let behaviour = app.idp.meet(Endpoint::Revoked);
    let good = || {
        let document = app.idp.lock().revoked.document(&app.idp.issuer).to_string();
        // Never from a cache: that would add to the time a revocation takes.
        tagged(&headers, document.as_bytes(), Some("no-cache")).1
    };
    behaviour.apply(good, &fuse).await
}

async fn introspect(
    State(app): State<App>,
    Extension(fuse): Extension<Fuse>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call =
        Introspection { headers: text_of(&headers), body: String::from_utf8_lossy(&body).into_owned() };
    let behaviour = app.idp.meet(Endpoint::Introspection);
    let about_token = app.idp.lock().opaque.behaviour(&call.token());
    let _in_progress = Call::begin(&app.idp, call.clone());
    let good = || block_in_place(|| app.idp.introspect(&headers, &call));
    about_token.unwrap_or(behaviour).apply(good, &fuse).await
}

/// A document with an ETag and the provider's `Cache-Control`; how often it was not sent again is counted.
fn cacheable(idp: &Shared, request: &HeaderMap, document: &[u8]) -> Response {
    let cache_control = idp.lock().cache_control.clone();
    let (known, response) = tagged(request, document, cache_control.as_deref());
    idp.lock().fetches.not_modified += usize::from(known);
    response
}

/// A JSON document with an ETag, answered 304 to a client that has it; whether it has.
fn tagged(request: &HeaderMap, document: &[u8], cache_control: Option<&str>) -> (bool, Response) {
    let etag = format!("\"{}\"", b64(digest(&SHA256, document)));
    let known = request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*");
    let mut headers = vec![(ETAG.as_str(), etag.as_str())];
    if let Some(value) = cache_control {
        headers.push((CACHE_CONTROL.as_str(), value));
    }
    if known {
        return (known, respond(304, &headers, Body::empty()));
    }
    headers.push((CONTENT_TYPE.as_str(), "application/json"));
    (known, respond(200, &headers, document.to_vec()))
}

/// Lets pages of every origin read the answers, as a server does that has only public clients and no cookies.
async fn any_origin(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == http::Method::OPTIONS;
    let mut response = if is_preflight { respond(204, &[], Body::empty()) } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    if is_preflight {
        headers.insert("access-control-allow-methods", HeaderValue::from_static("GET, POST"));
        headers.insert("access-control-allow-headers", HeaderValue::from_static("*"));
    }
    response
}

async fn register(State(app): State<App>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(asked) => app.idp.register(&asked),
        Err(error) => refuse(&format!("the body is not JSON: {error}")),
    }
}

async fn authorize(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    app.idp.authorize(query.unwrap_or_default().as_bytes())
}

async fn granted(State(app): State<App>) -> Response {
    app.idp.granted()
}

async fn token_lifetime(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let asked = parameters(&headers, &body);
    let seconds = asked.as_ref().ok().and_then(|asked| asked.get("seconds")).and_then(|seconds| {
        seconds
            .as_i64()
            .or_else(|| seconds.as_str()?.parse().ok())
            .filter(|seconds| (1..=86_400).contains(seconds))
    });
    let Some(seconds) = seconds else { return refuse("seconds is a number from 1 to 86400") };
    app.idp.set_token_seconds(seconds);
    json_response(200, &json!({ "seconds": seconds }))
}

async fn token(
    State(app): State<App>,
    Extension(fuse): Extension<Fuse>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let behaviour = app.idp.meet(Endpoint::Token);
    behaviour.apply(|| block_in_place(|| issue(&app.idp, &headers, &body)), &fuse).await
}

fn issue(idp: &Shared, headers: &HeaderMap, body: &[u8]) -> Response {
    // A client that logged somebody in; everybody else is given what they ask for.
    if form_urlencoded::parse(body)
        .any(|(name, value)| name == "grant_type" && GRANTS.contains(&value.as_ref()))
    {
        return match Parameters::read(body) {
            Ok(form) => idp.redeem(&form),
            Err(error) => refuse(&error),
        };
    }
    let mut asked = match parameters(headers, body) {
        Ok(asked) => asked,
        Err(error) => return refuse(&error),
    };
    for not_a_claim in ["grant_type", "client_secret"] {
        asked.remove(not_a_claim);
    }
    // Of an access token, and of no ID token (RFC 9068 section 2.2).
    asked.entry("client_id").or_insert_with(|| json!("demo"));
    let ttl = match asked.remove("ttl") {
        None => 300,
        Some(Value::Number(ttl)) if ttl.is_i64() => ttl.as_i64().unwrap_or(300),
        Some(Value::String(ttl)) if ttl.parse::<i64>().is_ok() => ttl.parse().unwrap_or(300),
        Some(other) => return refuse(&format!("ttl is a number of seconds, not {other}")),
    };
    let is_opaque = match asked.remove("token_format").as_ref().and_then(Value::as_str) {
        None | Some("jwt") => false,
        Some("opaque") => true,
        Some(other) => return refuse(&format!("token_format is jwt or opaque, not {other}")),
    };
    let mut minted = idp.mint().expires_in(ttl);
    if let Some(alg) = asked.remove("alg") {
        let alg: Alg = match alg.as_str().unwrap_or_default().parse() {
            Ok(alg) => alg,
            Err(error) => return refuse(&error),
        };
        if !idp.lock().keys.iter().any(|key| key.alg() == alg) {
            return refuse(&format!("this provider has no key for {alg}"));
        }
        minted = minted.alg(alg);
    }
    // So that each can be revoked by itself.
    asked.entry("jti").or_insert_with(|| json!(b64(random(12))));
    let scope = asked.get("scope").cloned();
    let is_dpop = asked.get("cnf").is_some_and(|cnf| cnf.get("jkt").is_some());
    let token_type = if is_dpop { "DPoP" } else { "Bearer" };
    let minted = minted.claims(Value::Object(asked));
    let token = if is_opaque { idp.issue_opaque(minted.payload()) } else { minted.sign() };
    // For shells: the token alone.
    if headers.get(http::header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain")) {
        let headers = [(CONTENT_TYPE.as_str(), "text/plain"), (CACHE_CONTROL.as_str(), "no-store")];
        return respond(200, &headers, format!("{token}\n"));
    }
    let mut answer = json!({ "access_token": token, "token_type": token_type, "expires_in": ttl });
    if let Some(scope) = scope {
        answer["scope"] = scope;
    }
    json_response(200, &answer)
}

/// The body as an object, whether it came as JSON or as a form.
fn parameters(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, String> {
    let is_json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    if !is_json {
        return Ok(form_urlencoded::parse(body)
            .map(|(name, value)| (name.into_owned(), json!(value)))
            .collect());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("the body is JSON, but not an object".to_owned()),
        Err(error) => Err(format!("the body is not JSON: {error}")),
    }
}

async fn rotate(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let retire = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "retire" && value == "true");
    block_in_place(|| app.idp.rotate(!retire));
    let published: Vec<_> = app.idp.lock().keys.iter().map(|key| key.kid().to_owned()).collect();
    json_response(200, &json!({ "signing": published.first(), "published": published }))
}

async fn revoke(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let asked = parameters(&headers, &body);
    let opaque = asked.as_ref().ok().and_then(|asked| asked.get("token")?.as_str());
    if opaque.is_some_and(|token| app.idp.lock().opaque.revoke(token)) {
        return json_response(200, &json!({ "revoked": true }));
    }
    match asked.and_then(|asked| Named::read(&asked)) {
        Ok(Named { jti, until }) => {
            app.idp.lock().revoked.add(&jti, until);
            json_response(200, &json!({ "revoked": jti, "until": until }))
        }
        Err(error) => refuse(&error),
    }
}

async fn logout(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let asked = parameters(&headers, &body);
    match asked.and_then(|asked| block_in_place(|| log_out(&app.idp, &asked))) {
        Ok(done) => json_response(200, &done),
        Err(error) => refuse(&error),
    }
}

/// `{"endpoint": "jwks|discovery|token|revoked|introspection", "mode": …, "seconds": …, "status": …, "bytes": …, "to": …, "body": …, "times": …}`
async fn behave(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let asked = match parameters(&headers, &body) {
        Ok(asked) => asked,
        Err(error) => return refuse(&error),
    };
    let text = |name: &str| asked.get(name).and_then(Value::as_str);
    let number = |name: &str| {
        let value = asked.get(name)?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| *number >= 0.0)
    };
    let seconds = Duration::try_from_secs_f64(number("seconds").unwrap_or(5.0)).unwrap_or_default();
    let endpoint = match text("endpoint").unwrap_or("jwks") {
        "jwks" => Endpoint::Jwks,
        "discovery" => Endpoint::Discovery,
        "token" => Endpoint::Token,
        "revoked" => Endpoint::Revoked,
        "introspection" => Endpoint::Introspection,
        other => return refuse(&format!("no such endpoint: {other}")),
    };
    let behaviour = match text("mode").unwrap_or_default() {
        "well" => Behaviour::Well,
        "delay" => Behaviour::Delay(seconds),
        "hang" => Behaviour::Hang,
        "status" => Behaviour::Status(number("status").map_or(500, |status| status as u16)),
        "redirect" => Behaviour::Redirect(text("to").unwrap_or("/elsewhere").to_owned()),
        "html" => Behaviour::Html,
        "truncated" => Behaviour::Truncated,
        "reset" => Behaviour::Reset,
        "huge" => Behaviour::Huge(number("bytes").map_or(8 << 20, |bytes| bytes as usize)),
        "body" => Behaviour::json(text("body").unwrap_or_default()),
        "refuse" => {
            // Nobody could ask it to come back, so it comes back by itself.
            runtime().spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let Some(door) = app.door.upgrade() else {
                    return;
                };
                door.shut().await;
                tokio::time::sleep(seconds).await;
                if let Err(error) = door.reopen() {
                    eprintln!("identity provider: cannot listen again: {error}");
                }
            });
            return json_response(202, &json!({ "refusing_for_seconds": seconds.as_secs_f64() }));
        }
        other => return refuse(&format!("no such mode: {other:?}")),
    };
    let left = number("times").map(|times| times as usize);
    app.idp.lock().behaviours.insert(endpoint, Rule { behaviour, left });
    json_response(200, &json!({ "endpoint": format!("{endpoint:?}").to_lowercase(), "mode": text("mode") }))
}

fn refuse(why: &str) -> Response {
    json_response(400, &json!({ "error": "invalid_request", "error_description": why }))
}

fn json_response(status: u16, value: &Value) -> Response {
    let headers = [(CONTENT_TYPE.as_str(), "application/json"), (CACHE_CONTROL.as_str(), "no-store")];
    respond(status, &headers, format!("{value}\n"))
}
