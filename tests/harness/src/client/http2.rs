//! One request over HTTP/2 without TLS.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Request, Response};
use crate::runtime::runtime;

pub(super) fn send(request: &Request, addr: SocketAddr) -> io::Result<Response> {
    let limit = request.timeout;
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, "the deadline passed before the answer was complete");
    runtime().block_on(async { timeout(limit, exchange(request, addr)).await.map_err(|_| late())? })
}

async fn exchange(request: &Request, addr: SocketAddr) -> io::Result<Response> {
    let head = head(request)?;
    let trailers = map(&request.trailers)?;
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = client::handshake(stream).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);

    sender = sender.ready().await.map_err(io::Error::other)?;
    let nothing_follows = request.body.is_none() && trailers.is_empty();
    let (answer, mut body) = sender.send_request(head, nothing_follows).map_err(io::Error::other)?;
    // A server may answer and close the stream before it has read the rest (RFC 9113 section 8.1): what
    // cannot be sent then does not matter, the answer does.
    let data_sent = match &request.body {
        Some(bytes) => body.send_data(Bytes::copy_from_slice(bytes), trailers.is_empty()).is_ok(),
        None => true,
    };
    if data_sent && !trailers.is_empty() {
        let _ = body.send_trailers(trailers);
    }

    let (parts, mut incoming) = answer.await.map_err(io::Error::other)?.into_parts();
    let mut response =
        Response { status: parts.status.as_u16(), headers: fields(&parts.headers), ..Response::default() };
    while let Some(data) = incoming.data().await {
        let data = data.map_err(io::Error::other)?;
        incoming.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
        response.body.extend_from_slice(&data);
    }
    if let Some(trailers) = incoming.trailers().await.map_err(io::Error::other)? {
        response.trailers = fields(&trailers);
    }
    driver.abort();
    Ok(response)
}

pub(super) fn head(request: &Request) -> io::Result<http::Request<()>> {
    let mut uri = http::uri::Builder::new().scheme("http").path_and_query(request.target.as_slice());
    uri = uri.authority(request.host.as_deref().unwrap_or(b"gateway.test"));
    let mut head = http::Request::new(());
    *head.uri_mut() = uri.build().map_err(invalid)?;
    *head.method_mut() = http::Method::from_bytes(&request.method).map_err(invalid)?;
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = map(&request.headers)?;
    Ok(head)
}

fn map(fields: &[(Vec<u8>, Vec<u8>)]) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name).map_err(invalid)?;
        map.append(name, HeaderValue::from_bytes(value).map_err(invalid)?);
    }
    Ok(map)
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
