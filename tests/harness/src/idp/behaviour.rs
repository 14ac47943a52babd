//! The ways in which an identity provider can let its clients down.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http_body::Frame;
use tokio::time::{Sleep, sleep};

use crate::wire::Fuse;

/// One of the things that the provider answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/jwks.json`
    Jwks,
    /// `/.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`
    Discovery,
    /// `POST /token`
    Token,
    /// `/revoked.json`
    Revoked,
    /// `POST /introspect`
    Introspection,
}

/// What an endpoint does with the requests that reach it.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    /// Answers as it should.
    #[default]
    Well,
    /// Answers as it should, after this time.
    Delay(Duration),
    /// Takes the request and never answers.
    Hang,
    /// Answers with this status and a short text.
    Status(u16),
    /// Sends the client elsewhere.
    Redirect(String),
    /// Answers 200 with a web page, as a captive portal would.
    Html,
    /// Announces the whole document, sends half, and closes in good order.
    Truncated,
    /// Announces the whole document, sends half, and resets the connection.
    Reset,
    /// Answers 200 with a JSON document of about this many bytes.
    Huge(usize),
    /// Answers exactly this.
    Custom {
        /// The status.
        status: u16,
        /// The header fields, in addition to `Content-Length`.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
}

impl Behaviour {
    /// 200 and this body as JSON, without any cache header.
    pub fn json(body: impl ToString) -> Self {
        Self::Custom {
            status: 200,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// Turns the good answer into what this behaviour makes of it.
    pub(super) async fn apply(self, good: impl FnOnce() -> Response, fuse: &Fuse) -> Response {
        match self {
            Self::Well => good(),
            Self::Delay(time) => {
                sleep(time).await;
                good()
            }
            Self::Hang => std::future::pending().await,
            Self::Status(status) => {
                respond(status, &[("content-type", "text/plain")], format!("status {status}\n"))
            }
            Self::Redirect(to) => respond(302, &[(LOCATION.as_str(), &to)], String::new()),
            Self::Html => respond(
                200,
                &[(CONTENT_TYPE.as_str(), "text/html")],
                "<!doctype html><title>Welcome</title><p>Please log in to the network.</p>",
            ),
            Self::Truncated => halve(good(), None).await,
            Self::Reset => halve(good(), Some(fuse.clone())).await,
            Self::Huge(bytes) => {
                let mut response =
                    respond(200, &[(CONTENT_TYPE.as_str(), "application/json")], Body::empty());
                *response.body_mut() = Body::new(Huge::new(bytes));
                response
            }
            Self::Custom { status, headers, body } => {
                let headers: Vec<_> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                respond(status, &headers, body)
            }
        }
    }
}

/// A response of these parts.
pub(super) fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!("the harness cannot say that: {error}\n")));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// A JSON document of some bytes, made while it is sent: made at once it would keep every other server of this process
/// waiting, for seconds where it is large.
struct Huge {
    next: Bytes,
    padding: usize,
}

impl Huge {
    const BEGIN: &[u8] = b"{\"keys\":[],\"padding\":\"";
    const PADDING: &[u8] = &[b'x'; 64 << 10];
    const END: &[u8] = b"\"}";

    fn new(bytes: usize) -> Self {
        let padding = bytes.saturating_sub(Self::BEGIN.len() + Self::END.len());
        Self { next: Bytes::from_static(Self::BEGIN), padding }
    }
}

impl http_body::Body for Huge {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let part = std::mem::take(&mut self.next);
        if part.is_empty() {
            return Poll::Ready(None);
        }
        let more = self.padding.min(Self::PADDING.len());
        self.padding -= more;
        if more > 0 {
            self.next = Bytes::from_static(&Self::PADDING[..more]);
        } else if part != Self::END {
            self.next = Bytes::from_static(Self::END);
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let end = if self.next.is_empty() || self.next == Self::END { 0 } else { Self::END.len() };
        http_body::SizeHint::with_exact((self.next.len() + self.padding + end) as u64)
    }
}

async fn halve(good: Response, fuse: Option<Fuse>) -> Response {
    let (mut parts, body) = good.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, whole.len().into());
    let half = whole.slice(..whole.len() / 2);
    Response::from_parts(
        parts,
        Body::new(Half { half: Some(half), fuse, pause: Box::pin(sleep(Duration::from_millis(20))) }),
    )
}

/// Half a body, a pause in which it leaves the process, and then a bad end.
struct Half {
    half: Option<Bytes>,
    pause: Pin<Box<Sleep>>,
    fuse: Option<Fuse>,
}

impl http_body::Body for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        ready!(self.pause.as_mut().poll(cx));
        if let Some(fuse) = &self.fuse {
            fuse.blow();
        }
        Poll::Ready(Some(Err(std::io::Error::other("told to stop half-way"))))
    }
}
