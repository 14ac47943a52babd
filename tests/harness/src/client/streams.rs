//! Streams of one HTTP/2 connection that stay open side by side.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Request, http2};
use crate::runtime::runtime;

/// A connection of HTTP/2 without TLS (prior knowledge) for several requests at once.
pub struct Streams {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A request whose body is not over, and its answer.
pub struct Stream {
    /// The status of the answer.
    pub status: u16,
    answer: h2::RecvStream,
    /// Without it the request would be cancelled.
    _request: h2::SendStream<Bytes>,
}

/// What comes next of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Some more of its body.
    Data(Vec<u8>),
    /// Its end.
    End,
    /// The stream was reset, with this code (RFC 9113 section 7).
    Reset(u32),
}

impl Streams {
    /// Connects.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        runtime().block_on(async {
            let stream = TcpStream::connect(addr).await?;
            let (sender, connection) = client::handshake(stream).await.map_err(io::Error::other)?;
            let driver = tokio::spawn(async {
                // Its streams say how it ended.
                let _ = connection.await;
            });
            Ok(Self { sender, driver })
        })
    }

    /// Sends a request, without its end, and reads the head of the answer.
    pub fn begin(&mut self, request: &Request) -> io::Result<Stream> {
        let sender = self.sender.clone();
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let exchange = async {
            let mut sender = sender.ready().await.map_err(io::Error::other)?;
            let head = http2::head(request)?;
            let (answer, mut body) = sender.send_request(head, false).map_err(io::Error::other)?;
            if let Some(bytes) = &request.body {
                body.send_data(Bytes::copy_from_slice(bytes), false).map_err(io::Error::other)?;
            }
            let (parts, answer) = answer.await.map_err(io::Error::other)?.into_parts();
            Ok(Stream { status: parts.status.as_u16(), answer, _request: body })
        };
        runtime().block_on(async { timeout(request.timeout, exchange).await.map_err(|_| late())? })
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Stream {
    /// What comes next, within this time.
    ///
    /// # Panics
    /// When nothing comes, or the connection ends.
    #[track_caller]
    pub fn next(&mut self, within: Duration) -> Next {
        let next = runtime().block_on(async { timeout(within, self.answer.data()).await });
        match next {
            Err(_) => panic!("nothing comes of a stream for {within:?}"),
            Ok(None) => Next::End,
            Ok(Some(Ok(data))) => {
                let _ = self.answer.flow_control().release_capacity(data.len());
                Next::Data(data.to_vec())
            }
            Ok(Some(Err(error))) if error.is_reset() => Next::Reset(error.reason().map_or(0, u32::from)),
            Ok(Some(Err(error))) => panic!("the connection of a stream has ended: {error}"),
        }
    }
}
