//! HTTPS: connections, bounds, and an end in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificate::Files;
use super::{log, review};
use crate::output::Failure;

/// No review is longer.
const MAX_BODY: usize = 4 << 20;
/// How much is read of what is longer.
const MAX_DISCARDED: usize = 16 << 20;
/// How many connections are open at once.
const MAX_CONNECTIONS: usize = 256;
/// How long a handshake, a head or a body may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the files of the certificate are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long what has begun may go on after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(8);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Where the address cannot be listened on.
pub(super) async fn serve(listen: SocketAddr, mut files: Files) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::of(listen, error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::of("TLS", error))?;
    let config = config.with_no_client_auth().with_cert_resolver(files.current());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (open, graceful) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), GracefulShutdown::new());
    let mut failing = String::new();
    log(format_args!("portcullis {} listens on {address}", env!("CARGO_PKG_VERSION")));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => failing = reload(&mut files, &failing),
            accepted = accept(&listener, &open) => {
                let (stream, permit) = accepted;
                let (acceptor, watcher) = (acceptor.clone(), graceful.watcher());
                tokio::spawn(async move {
                    connection(stream, acceptor, watcher).await;
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    log("ends: what has begun is answered");
    if timeout(FAREWELL, graceful.shutdown()).await.is_err() {
        log("some connections did not end in time");
    }
    Ok(())
}

/// Looks at the certificate; what is wrong with it is said once.
fn reload(files: &mut Files, before: &str) -> String {
    match files.look() {
        Ok(Some(change)) => {
            log(change);
            String::new()
        }
        Ok(None) => before.to_owned(),
        Err(error) => {
            let text = error.to_string();
            if text != before {
                log(format_args!("{text}; the last good one serves on"));
            }
            text
        }
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    open: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    let permit = open.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // Out of file descriptors, say: others end.
            Err(error) => {
                log(format_args!("a connection is lost: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    let service = service_fn(|request| async { Ok::<_, Infallible>(respond(request).await) });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // A client's errors end its own connection, and no other.
    let _ = watcher.watch(connection).await;
}

async fn respond(request: Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.uri().path(), request.method()) {
        ("/healthz", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok"),
        ("/healthz", _) => not_allowed("GET, HEAD"),
        ("/validate", &Method::POST) => validate(request).await,
        ("/validate", _) => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "there are POST /validate and GET /healthz"),
    }
}

async fn validate(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let is_json =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
            value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
    if !is_json {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not application/json");
    }
    let body = match timeout(PATIENCE, read(request.into_body())).await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB"),
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    // A large manifest takes a while to read; a panic there is an answer too.
    match tokio::task::spawn_blocking(move || review::answer(&body)).await {
        Ok(Ok(answer)) => {
            answer.line.into_iter().for_each(log);
            let mut response = Response::new(Full::new(Bytes::from(answer.body.to_string())));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Ok(Err(problem)) => text(StatusCode::BAD_REQUEST, problem),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the review could not be judged"),
    }
}

/// A body; none where it is too large. More of such a one is read and thrown away: a client that still sends when the
/// connection ends does not see the answer.
async fn read(mut body: Incoming) -> Result<Option<Vec<u8>>, hyper::Error> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len();
        if length <= MAX_BODY {
            bytes.extend_from_slice(&data);
        } else if length > MAX_DISCARDED {
            break;
        } else {
            bytes = Vec::new();
        }
    }
    Ok((length <= MAX_BODY).then_some(bytes))
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed here");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
