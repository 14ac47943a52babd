//! HTTP/2 without TLS.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpStream;

use super::{BODY_KEPT, Record, Shared};

pub(super) async fn serve(stream: TcpStream, state: Arc<Shared>) -> io::Result<()> {
    let mut connection = server::handshake(stream).await.map_err(io::Error::other)?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted.map_err(io::Error::other)?;
        let state = state.clone();
        tokio::spawn(async move {
            let _ = answer(request, respond, state).await;
        });
    }
    Ok(())
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    state: Arc<Shared>,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let mut record = Record {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or_else(Vec::new, |path| path.as_str().as_bytes().to_vec()),
        authority: parts.uri.authority().map(ToString::to_string),
        version: "HTTP/2",
        headers: fields(&parts.headers),
        ..Record::default()
    };
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        record.body_length += data.len();
        let room = BODY_KEPT.saturating_sub(record.body.len());
        record.body.extend(data.iter().take(room));
    }
    if let Some(trailers) = body.trailers().await? {
        record.trailers = fields(&trailers);
    }
    let is_grpc = record.header("content-type").is_some_and(|value| value.starts_with("application/grpc"));
    let answer = state.answer(record).await;

    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            response.headers_mut().append(name, value);
        }
    }
    if is_grpc {
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    }
    let mut stream = respond.send_response(response, answer.body.is_empty() && !is_grpc)?;
    if !answer.body.is_empty() {
        stream.send_data(answer.body.into(), !is_grpc)?;
    }
    if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}
