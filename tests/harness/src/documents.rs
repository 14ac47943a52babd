//! A web server for documents: a list of revoked tokens and its pages, say.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

use crate::door::{Door, Serve};
use crate::idp::b64;

/// A running server. It stops when it is dropped.
pub struct Documents {
    door: Door,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    documents: Mutex<HashMap<String, (String, Bytes)>>,
    fetches: AtomicUsize,
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<axum::body::Body> {
        self.fetches.fetch_add(1, Ordering::AcqRel);
        let documents = self.documents.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = request.headers().get(IF_NONE_MATCH).map(http::HeaderValue::as_bytes);
        let (status, etag, body) = match documents.get(request.uri().path()) {
            None => (StatusCode::NOT_FOUND, "", Bytes::new()),
            Some((etag, _)) if known == Some(etag.as_bytes()) => {
                (StatusCode::NOT_MODIFIED, etag.as_str(), Bytes::new())
            }
            Some((etag, body)) => (StatusCode::OK, etag.as_str(), body.clone()),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        if let Ok(etag) = etag.parse() {
            response.headers_mut().insert(ETAG, etag);
        }
        response
    }
}

impl Documents {
    /// A server without documents on a free loopback port.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        let state = Arc::<State>::default();
        let served = Arc::clone(&state);
        let serve: Arc<Serve> = Arc::new(move |stream| {
            let state = Arc::clone(&served);
            Box::pin(async move {
                let service = service_fn(move |request| {
                    let response = state.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                // A client that goes away in the middle is its own affair.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            })
        });
        let door = Door::open(SocketAddr::from(([127, 0, 0, 1], 0)), serve).expect("a free port");
        Self { door, state }
    }

    /// Serves this document at a path from now on.
    pub fn put(&self, path: &str, body: impl Into<Bytes>) {
        let body = body.into();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let etag = format!("\"{}\"", b64(digest));
        let mut documents = self.state.documents.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        documents.insert(path.to_owned(), (etag, body));
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.door.addr()
    }

    /// The URI of a document.
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// How often something was asked for.
    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::Acquire)
    }
}
