//! An upstream whose answers do not end by themselves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::door::{Door, Serve};

/// How often it sends something.
const BEAT: Duration = Duration::from_millis(250);
/// What it sends, as a server-sent event: long enough that a client does not take many unread ones for a flood.
const EVENT: &[u8] = &{
    let mut event = [b'x'; 300];
    [event[0], event[298], event[299]] = *b":\n\n";
    event
};

/// A running upstream. It answers an upgrade with 101 and then with what comes, everything else with an event every
/// 250 ms, over HTTP/1.1 and HTTP/2 without TLS.
pub struct Endless {
    door: Door,
    open: Arc<AtomicUsize>,
}

/// One answer that goes on.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Endless {
    /// On a free loopback port.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        let serve: Arc<Serve> = Arc::new(move |stream| {
            let count = count.clone();
            Box::pin(async move {
                // A peer that goes away is what ends an answer.
                let _ = serve(stream, count).await;
            })
        });
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { door: Door::open(addr, serve).expect("the upstream listens on a free port"), open }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.door.addr()
    }

    /// How many answers go on.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

async fn serve(stream: TcpStream, open: Arc<AtomicUsize>) -> io::Result<()> {
    let mut start = [0; 3];
    while stream.peek(&mut start).await? < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    if &start == b"PRI" { http2(stream, open).await } else { http1(stream, &open).await }
}

async fn http1(mut stream: TcpStream, open: &Arc<AtomicUsize>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let _open = Open::new(open);
    if head.contains("\r\nupgrade: websocket\r\n") {
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            )
            .await?;
        let mut part = [0; 1024];
        loop {
            match stream.read(&mut part).await? {
                0 => return Ok(()),
                length => stream.write_all(part.get(..length).unwrap_or_default()).await?,
            }
        }
    }
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await?;
    loop {
        stream.write_all(&[b"12c\r\n", EVENT, b"\r\n"].concat()).await?;
        sleep(BEAT).await;
    }
}

async fn http2(stream: TcpStream, open: Arc<AtomicUsize>) -> io::Result<()> {
    let mut connection = server::handshake(stream).await.map_err(io::Error::other)?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted.map_err(io::Error::other)?;
        let open = Open::new(&open);
        tokio::spawn(async move {
            let _ = answer(request, respond).await;
            drop(open);
        });
    }
    Ok(())
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut response = http::Response::new(());
    let kind = request.headers().get("content-type").cloned();
    let kind = kind.unwrap_or_else(|| http::HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert("content-type", kind);
    let mut stream = respond.send_response(response, false)?;
    loop {
        stream.send_data(Bytes::from_static(EVENT), false)?;
        sleep(BEAT).await;
    }
}
