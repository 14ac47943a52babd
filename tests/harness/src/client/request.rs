//! A request under construction.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::http1::Connection;
use super::{Response, TIMEOUT, http2};

/// Header fields, in their order.
pub type Fields = [(Vec<u8>, Vec<u8>)];

/// A request. Unless told otherwise it carries `Host: gateway.test` and, where there is a body, `Content-Length`.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) host: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) trailers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) raw: Option<Vec<u8>>,
    pub(super) timeout: Duration,
}

impl Request {
    /// A request of any method for any target, both of which go out as they are.
    pub fn new(method: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            method: method.as_ref().to_vec(),
            target: target.as_ref().to_vec(),
            host: Some(b"gateway.test".to_vec()),
            headers: Vec::new(),
            body: None,
            trailers: Vec::new(),
            raw: None,
            timeout: TIMEOUT,
        }
    }

    /// `GET`
    pub fn get(target: impl AsRef<[u8]>) -> Self {
        Self::new("GET", target)
    }

    /// `POST`, with a body
    pub fn post(target: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// A gRPC call with an empty message, for [`Self::send_h2`].
    pub fn grpc(method: &str) -> Self {
        Self::new("POST", method)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body([0; 5])
    }

    /// Exactly these bytes over HTTP/1.1, whatever they are.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { raw: Some(bytes.as_ref().to_vec()), ..Self::new("", "") }
    }

    /// Its method, target, host and fields, as they go out.
    pub fn parts(&self) -> (&[u8], &[u8], Option<&[u8]>, &Fields) {
        (&self.method, &self.target, self.host.as_deref(), &self.headers)
    }

    /// Adds a field, also one that is there already, or whose value is no text.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets `Host` (over HTTP/2 `:authority`).
    #[must_use]
    pub fn host(mut self, host: impl AsRef<[u8]>) -> Self {
        self.host = Some(host.as_ref().to_vec());
        self
    }

    /// Sends no `Host`.
    #[must_use]
    pub fn without_host(mut self) -> Self {
        self.host = None;
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Adds a trailer; over HTTP/1.1 the body is then chunked.
    #[must_use]
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Gives up after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends it over HTTP/1.1 on a connection of its own.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn send(&self, addr: SocketAddr) -> Response {
        match self.try_send(addr) {
            Ok(response) => response,
            Err(error) => panic!("no answer from {addr} to {}: {error}", self.line()),
        }
    }

    /// Like [`Self::send`], but no answer is an error.
    pub fn try_send(&self, addr: SocketAddr) -> io::Result<Response> {
        Connection::open_within(addr, self.timeout)?.try_send(self)
    }

    /// Sends it over HTTP/2 without TLS (prior knowledge) on a connection of its own.
    ///
    /// # Panics
    /// When no answer comes, or when HTTP/2 cannot carry the request.
    #[track_caller]
    pub fn send_h2(&self, addr: SocketAddr) -> Response {
        match self.try_send_h2(addr) {
            Ok(response) => response,
            Err(error) => panic!("no HTTP/2 answer from {addr} to {}: {error}", self.line()),
        }
    }

    /// Like [`Self::send_h2`], but no answer is an error.
    pub fn try_send_h2(&self, addr: SocketAddr) -> io::Result<Response> {
        http2::send(self, addr)
    }

    /// The bytes that [`Self::send`] puts on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut bytes = Vec::with_capacity(512);
        let mut put = |parts: &[&[u8]]| {
            for part in parts {
                bytes.extend_from_slice(part);
            }
        };
        put(&[&self.method, b" ", &self.target, b" HTTP/1.1\r\n"]);
        if let Some(host) = &self.host {
            put(&[b"host: ", host, b"\r\n"]);
        }
        for (name, value) in &self.headers {
            put(&[name, b": ", value, b"\r\n"]);
        }
        let body = self.body.as_deref().unwrap_or_default();
        if !self.trailers.is_empty() {
            put(&[b"transfer-encoding: chunked\r\n\r\n"]);
            if !body.is_empty() {
                put(&[format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"]);
            }
            put(&[b"0\r\n"]);
            for (name, value) in &self.trailers {
                put(&[name, b": ", value, b"\r\n"]);
            }
            put(&[b"\r\n"]);
        } else if self.body.is_some() {
            put(&[format!("content-length: {}\r\n\r\n", body.len()).as_bytes(), body]);
        } else {
            put(&[b"\r\n"]);
        }
        bytes
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == b"HEAD"
    }

    fn line(&self) -> String {
        match &self.raw {
            Some(raw) => format!("{} raw bytes", raw.len()),
            None => {
                format!("{} {}", String::from_utf8_lossy(&self.method), String::from_utf8_lossy(&self.target))
            }
        }
    }
}
