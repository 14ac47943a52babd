//! A blocking HTTP client in which every byte of a request can be chosen.

mod http1;
mod http2;
mod request;
mod response;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use http1::Connection;
pub use request::Request;
pub use response::Response;
pub use streams::{Next, Stream, Streams};

use crate::wait::SOON;

/// How long a request may take when nothing else is said.
pub const TIMEOUT: Duration = SOON;

/// `GET path`.
///
/// # Panics
/// When no answer comes.
#[track_caller]
pub fn get(addr: SocketAddr, path: &str) -> Response {
    Request::get(path).send(addr)
}

/// Sends `count` requests on as many connections, so that all of them are in flight at once, and then reads the
/// answers, in the order of the requests.
///
/// # Panics
/// When one of them gets no answer.
#[track_caller]
pub fn burst(addr: SocketAddr, count: usize, request: impl Fn(usize) -> Request) -> Vec<Response> {
    let answers = try_burst(addr, count, request);
    answers
        .into_iter()
        .enumerate()
        .map(|(index, answer)| match answer {
            Ok(response) => response,
            Err(error) => panic!("request {index} of {count} got no answer: {error}"),
        })
        .collect()
}

/// Like [`burst`], but a request without an answer is an error in the list.
pub fn try_burst(
    addr: SocketAddr,
    count: usize,
    request: impl Fn(usize) -> Request,
) -> Vec<io::Result<Response>> {
    let requests: Vec<Request> = (0..count).map(request).collect();
    // First every connection, then every request, then every answer: nothing waits for anything before it.
    let mut connections: Vec<_> =
        requests.iter().map(|request| Connection::open_within(addr, request.timeout)).collect();
    let sent: Vec<io::Result<()>> = connections
        .iter_mut()
        .zip(&requests)
        .map(|(connection, request)| match connection {
            Ok(connection) => connection.write(request),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        })
        .collect();
    let deadline = Instant::now() + requests.iter().map(|request| request.timeout).max().unwrap_or(TIMEOUT);
    connections
        .into_iter()
        .zip(&requests)
        .zip(sent)
        .map(|((connection, request), sent)| {
            sent?;
            connection?.read(request.is_head(), deadline)
        })
        .collect()
}
