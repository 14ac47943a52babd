//! What each path answers.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::json;

use crate::admin;
use crate::event::{Refusal, Way};
use crate::intake::{NotTaken, Receiver, Taken};
use crate::store::Stored;

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// How much of a larger one is thrown away before its client is answered, so that it reads the answer.
const MAX_DRAINED: usize = 4 << 20;
/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);

type Answer = Response<Full<Bytes>>;

/// Answers a request.
pub(crate) async fn answer(receiver: &Rc<Receiver>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let allowed = match path.as_str() {
        "/backchannel-logout" | "/events" => "POST",
        "/revocations" if receiver.config.admin.is_some() => "POST",
        "/revoked.json" | "/healthz" | "/metrics" => "GET, HEAD",
        page if page.starts_with("/pages/") => "GET, HEAD",
        _ => return text(StatusCode::NOT_FOUND, "not found\n"),
    };
    if !allowed.split(", ").any(|method| method == request.method().as_str()) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return answer;
    }
    let is_head = *request.method() == Method::HEAD;
    let mut answer = match path.as_str() {
        "/backchannel-logout" => logout(receiver, request).await,
        "/events" => push(receiver, request).await,
        "/revocations" => revocations(receiver, request).await,
        "/revoked.json" => list(receiver, request.headers()).await,
        "/healthz" => health(receiver),
        "/metrics" => metrics(receiver).await,
        page => self::page(receiver, page).await,
    };
    if path == "/backchannel-logout" {
        // A connection that is kept ends with a restart. The logout token that is written to it then is lost: most providers send
        // one once.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if is_head {
        let length = answer.body().size().unwrap_or(0);
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *answer.body_mut() = Full::default();
    }
    answer
}

trait Size {
    fn size(&self) -> Option<u64>;
}

impl Size for Full<Bytes> {
    fn size(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }
}

/// OpenID Connect Back-Channel Logout 1.0 sections 2.5 and 2.8.
async fn logout(receiver: &Rc<Receiver>, request: Request<Incoming>) -> Answer {
    let no_store = |mut answer: Answer| {
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    };
    let body = match body(request, "application/x-www-form-urlencoded").await {
        Ok(body) => body,
        Err((status, why)) => return no_store(oauth_error(status, &why)),
    };
    let mut tokens = form_urlencoded::parse(&body).filter(|(name, _)| name == "logout_token");
    let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
        return no_store(oauth_error(StatusCode::BAD_REQUEST, "send one \"logout_token\""));
    };
    no_store(match receiver.take_apart(token.into_owned().into_bytes(), Way::Logout).await {
        Ok(Taken::New) => empty(StatusCode::OK),
        Ok(Taken::Before) => oauth_error(StatusCode::BAD_REQUEST, BEFORE),
        Err(NotTaken::Refused(refusal)) => oauth_error(StatusCode::BAD_REQUEST, &refusal.text),
        Err(NotTaken::Unavailable(after)) => unavailable(after),
    })
}

const BEFORE: &str = "was received before";

/// RFC 8935 section 2.
async fn push(receiver: &Rc<Receiver>, request: Request<Incoming>) -> Answer {
    let body = match body(request, "application/secevent+jwt").await {
        Ok(body) => body,
        Err((status, why)) => return set_error(status, &Refusal::request(why)),
    };
    match receiver.take_apart(body.trim_ascii().to_vec(), Way::Push).await {
        Ok(Taken::New) => empty(StatusCode::ACCEPTED),
        Ok(Taken::Before) => set_error(StatusCode::BAD_REQUEST, &Refusal::request(BEFORE)),
        Err(NotTaken::Refused(refusal)) => set_error(StatusCode::BAD_REQUEST, &refusal),
        Err(NotTaken::Unavailable(after)) => unavailable(after),
    }
}

async fn revocations(receiver: &Receiver, request: Request<Incoming>) -> Answer {
    let mut authorization = request.headers().get_all(AUTHORIZATION).iter();
    let (given, another) = (authorization.next(), authorization.next());
    let given = given.filter(|_| another.is_none()).map(HeaderValue::as_bytes);
    let is_admin = receiver.config.admin.as_deref().is_some_and(|token| admin::is_admin(given, token));
    if !is_admin {
        let mut answer = json_answer(StatusCode::UNAUTHORIZED, json!({ "error": "invalid_token" }));
        let challenge = "Bearer realm=\"revocations\"";
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        // What it sends is not read.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return answer;
    }
    let body = match body(request, "application/json").await {
        Ok(body) => body,
        Err((status, why)) => return oauth_error(status, &why),
    };
    let only = match receiver.config.issuers.as_slice() {
        [only] => Some(only.issuer.as_str()),
        _ => None,
    };
    let entries = match admin::read(&body, only) {
        Ok(entries) => entries,
        Err(why) => return oauth_error(StatusCode::BAD_REQUEST, &why),
    };
    let count = entries.len();
    match receiver.store.keep(None, entries).await {
        Ok(Stored::New | Stored::Before) => {
            crate::log::info("entries by hand", &[("entries", count.into())]);
            let mut answer = text(StatusCode::OK, &admin::accepted(count));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            answer
        }
        Ok(Stored::Full) => unavailable(Duration::from_secs(60)),
        Err(_) => unavailable(Duration::from_secs(5)),
    }
}

const LIST_REQUESTS: &str = "portcullis_receive_list_requests_total";

async fn list(receiver: &Receiver, headers: &HeaderMap) -> Answer {
    let built = match receiver.lists.current().await {
        Ok(built) => built,
        Err(error) => {
            crate::log::error("the list cannot be read", &[("error", error.into())]);
            receiver.metrics.count(LIST_REQUESTS, &[("status", "503")]);
            return unavailable(Duration::from_secs(5));
        }
    };
    let is_same = headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        let mut tags =
            value.to_str().unwrap_or_default().split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag == built.etag)
    });
    let mut answer = match is_same {
        true => empty(StatusCode::NOT_MODIFIED),
        false => Response::new(Full::new(built.document.clone())),
    };
    receiver.metrics.count(LIST_REQUESTS, &[("status", answer.status().as_str())]);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A gate asks seldom: it would send its next request into a connection that is being closed for its silence.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Ok(etag) = HeaderValue::from_str(&built.etag) {
        headers.insert(ETAG, etag);
    }
    answer
}

async fn page(receiver: &Receiver, path: &str) -> Answer {
    let digest = path.strip_prefix("/pages/").and_then(|name| name.strip_suffix(".bin")).unwrap_or_default();
    // After a start the pages are built with the first list that is asked for; a gate may come with a digest before.
    if receiver.lists.page(digest).await.is_none() {
        let _ = receiver.lists.current().await;
    }
    let Some(page) = receiver.lists.page(digest).await else {
        return text(StatusCode::NOT_FOUND, "not found\n");
    };
    let mut answer = Response::new(Full::new(page));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=600, immutable"));
    answer
}

fn health(receiver: &Receiver) -> Answer {
    match receiver.store.is_sound() {
        true => text(StatusCode::OK, "ok\n"),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be written\n"),
    }
}

async fn metrics(receiver: &Receiver) -> Answer {
    if let Ok(built) = receiver.lists.current().await {
        receiver.metrics.set("portcullis_receive_entries", built.entries);
        receiver.metrics.set("portcullis_receive_list_bytes", built.document.len() as u64);
    }
    let mut answer = text(StatusCode::OK, &receiver.metrics.render());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Reads a body of this media type.
async fn body(request: Request<Incoming>, kind: &str) -> Result<Vec<u8>, (StatusCode, String)> {
    let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
    let wrong = wrong_kind(request.headers(), kind);
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {MAX_BODY} bytes"));
    if length.is_some_and(|length: usize| length > MAX_DRAINED) {
        return Err(too_large());
    }
    let mut body = request.into_body();
    let (mut bytes, mut size) = (Vec::new(), 0usize);
    let read = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| bad("the body ended too early"))?;
            let Some(data) = frame.data_ref() else { continue };
            size = size.saturating_add(data.len());
            if size > MAX_DRAINED {
                return Ok(());
            }
            if size <= MAX_BODY {
                bytes.extend_from_slice(data);
            }
        }
        Ok(())
    };
    let timed = tokio::time::timeout(BODY, read).await;
    timed.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned()))??;
    match wrong {
        _ if size > MAX_BODY => Err(too_large()),
        Some(why) => Err(bad(&why)),
        None => Ok(bytes),
    }
}

fn wrong_kind(headers: &HeaderMap, kind: &str) -> Option<String> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let given = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    let coded = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    if types.next().is_some() || !essence.eq_ignore_ascii_case(kind) {
        return Some(format!("the content type must be {kind}"));
    }
    coded.then(|| "a content encoding is not taken".to_owned())
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn json_answer(status: StatusCode, value: serde_json::Value) -> Answer {
    let mut answer = text(status, &value.to_string());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::REQUEST_TIMEOUT {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn oauth_error(status: StatusCode, why: &str) -> Answer {
    json_answer(status, json!({ "error": "invalid_request", "error_description": why }))
}

/// RFC 8935 section 2.3.
fn set_error(status: StatusCode, refusal: &Refusal) -> Answer {
    let mut answer = json_answer(status, json!({ "err": refusal.code, "description": refusal.text }));
    answer.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    answer
}

fn unavailable(after: Duration) -> Answer {
    let mut answer = json_answer(
        StatusCode::SERVICE_UNAVAILABLE,
        json!({ "error": "temporarily_unavailable", "error_description": "nothing was kept; send it again" }),
    );
    let after = after.as_secs().clamp(1, 60);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
    answer
}
