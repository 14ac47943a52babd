//! One HTTP request to a server, over TLS or on this machine. Redirects are not followed.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use portcullis::{Endpoint, FetchError, HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A request.
pub(crate) struct Ask<'a> {
    pub(crate) method: http::Method,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The largest answer that is read, in bytes.
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Asks servers. Certificates are checked by what the machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
#[derive(Default)]
pub(crate) struct Client {
    tls: OnceCell<Result<TlsConnector, String>>,
}

impl Client {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Why there is none, in words without secrets.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, String> {
        let timeout = ask.timeout;
        let answer = tokio::time::timeout(timeout, self.ask_in_time(ask));
        answer.await.unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs_f64())))
    }

    async fn ask_in_time(&self, ask: Ask<'_>) -> Result<Answer, String> {
        let authority: http::uri::Authority =
            ask.authority.parse().map_err(|_| "the URI names no host".to_owned())?;
        let is_tls = ask.scheme == "https";
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let connected = TcpStream::connect((host, port)).await;
        let stream = connected.map_err(|error| format!("no connection: {error}"))?;
        let _ = stream.set_nodelay(true);
        if !is_tls {
            return exchange(stream, ask).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "the URI names no host".to_owned())?;
        let connected = self.tls()?.connect(name, stream).await;
        exchange(connected.map_err(|error| format!("no TLS: {error}"))?, ask).await
    }

    fn tls(&self) -> Result<&TlsConnector, String> {
        self.tls.get_or_init(connector).as_ref().map_err(String::clone)
    }

    /// Sends a request of the core, for keys.
    ///
    /// # Errors
    /// Those of the core.
    pub(crate) async fn fetch(&self, request: &HttpRequest) -> Result<HttpResponse, FetchError> {
        let Endpoint { scheme, authority, path, timeout, .. } = &request.endpoint;
        let ask = Ask {
            method: http::Method::from_bytes(request.method.as_str().as_bytes()).unwrap_or_default(),
            scheme,
            authority,
            path,
            headers: request.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
            body: request.body.clone(),
            max_bytes: request.max_bytes,
            timeout: *timeout,
        };
        let answer = self.ask(ask).await.map_err(FetchError::Unusable)?;
        let field = |name: &str| {
            let value = answer.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let is_read = HttpResponse::has_body_to_read(answer.status);
        Ok(HttpResponse {
            status: answer.status,
            cache_control: field("cache-control"),
            etag: field("etag"),
            last_modified: field("last-modified"),
            retry_after: field("retry-after"),
            content_encoding: field("content-encoding"),
            local_reply: None,
            body: if is_read { answer.body } else { Vec::new() },
        })
    }
}

fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(
            "this machine trusts no certificate authority; name a file of them in SSL_CERT_FILE".to_owned()
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange<S>(stream: S, ask: Ask<'_>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let mut request = http::Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(HOST, ask.authority)
        .header(USER_AGENT, concat!("portcullis-receive/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(ask.body))).map_err(|error| error.to_string())?;
    let max = ask.max_bytes;
    let exchanged = async move {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, mut body) = response.into_parts();
        let too_large = || format!("the answer has more than {max} bytes");
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > max) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            if let Some(data) = frame.data_ref() {
                if bytes.len().saturating_add(data.len()) > max {
                    return Err(too_large());
                }
                bytes.extend_from_slice(data);
            }
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: bytes })
    };
    // The connection moves only while it is polled.
    tokio::pin!(connection);
    tokio::pin!(exchanged);
    let mut is_closed = false;
    loop {
        tokio::select! {
            answer = &mut exchanged => return answer,
            closed = &mut connection, if !is_closed => {
                is_closed = true;
                if let Err(error) = closed { return Err(error.to_string()); }
            }
        }
    }
}
