//! Connections: how many, for how long, and how they end.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::intake::Receiver;
use crate::routes;

/// How many connections are open at a time; others wait.
pub const MAX_CONNECTIONS: usize = 512;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may stay: one that is never read from ends too.
const LIFE: Duration = Duration::from_secs(300);
/// How long what has begun may take at the end.
const GRACE: Duration = Duration::from_secs(8);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves until `stop` says so, and then answers what has begun.
pub(crate) async fn serve(listener: TcpListener, receiver: Rc<Receiver>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let is_stopping = |stop: &watch::Receiver<bool>| *stop.borrow();
    while !is_stopping(&stop) {
        while connections.try_join_next().is_some() {}
        receiver.metrics.set("portcullis_receive_connections", connections.len() as u64);
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(connection(stream, Rc::clone(&receiver), stop.clone()));
                }
                Err(error) => {
                    // Out of files, say: it passes.
                    crate::log::error("a connection cannot be taken", &[("error", error.to_string().into())]);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = connections.join_next(), if connections.len() >= MAX_CONNECTIONS => {}
            _ = stop.changed() => {}
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, all).await;
}

async fn connection(stream: TcpStream, receiver: Rc<Receiver>, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let receiver = Rc::clone(&receiver);
        async move {
            Ok::<Response<Full<Bytes>>, std::convert::Infallible>(routes::answer(&receiver, request).await)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        // The client went away.
        _ = served.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(LIFE) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, served).await;
}
