//! HTTP/1.1 over a socket that stays open.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Request, Response, TIMEOUT};

/// A connection for one request after another.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        Self::open_within(addr, TIMEOUT)
    }

    pub(super) fn open_within(addr: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Response {
        match self.try_send(request) {
            Ok(response) => response,
            Err(error) => panic!("no answer on an open connection: {error}"),
        }
    }

    /// Like [`Self::send`], but no answer is an error.
    pub fn try_send(&mut self, request: &Request) -> io::Result<Response> {
        let written = self.write(request);
        // A server may answer and close before it has read everything: the answer counts more than the write.
        let answer = self.read(request.is_head(), Instant::now() + request.timeout);
        match (written, answer) {
            (_, Ok(response)) => Ok(response),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    /// Puts a request on the wire and does not wait for the answer.
    pub fn write(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(&request.to_bytes())
    }

    /// Puts any bytes on the wire.
    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next answer. `head`: it answers a HEAD request, so that no body follows.
    pub fn read(&mut self, head: bool, deadline: Instant) -> io::Result<Response> {
        let mut response = loop {
            let response = self.read_head(deadline)?;
            if !(100..200).contains(&response.status) || response.status == 101 {
                break response;
            }
        };
        let none = head || matches!(response.status, 101 | 204 | 304);
        if none {
            return Ok(response);
        }
        let chunked =
            response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if chunked {
            self.read_chunks(&mut response, deadline)?;
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|_| invalid("Content-Length is no number"))?;
            while self.buffer.len() < length {
                self.require(deadline)?;
            }
            response.body = self.buffer.drain(..length).collect();
        } else {
            while self.fill(deadline)? {}
            response.body = std::mem::take(&mut self.buffer);
        }
        Ok(response)
    }

    fn read_head(&mut self, deadline: Instant) -> io::Result<Response> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 256];
            let mut parsed = httparse::Response::new(&mut fields);
            match parsed.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) => {
                    let response = Response {
                        status: parsed.code.unwrap_or_default(),
                        headers: parsed
                            .headers
                            .iter()
                            .map(|field| (field.name.to_lowercase(), field.value.to_vec()))
                            .collect(),
                        ..Response::default()
                    };
                    self.buffer.drain(..length);
                    return Ok(response);
                }
                Ok(httparse::Status::Partial) => self.require(deadline)?,
                Err(error) => return Err(invalid(&format!("no HTTP answer: {error}"))),
            }
        }
    }

    fn read_chunks(&mut self, response: &mut Response, deadline: Instant) -> io::Result<()> {
        loop {
            let line = self.line(deadline)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("a chunk without a size"))?;
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.require(deadline)?;
            }
            response.body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
        loop {
            let line = self.line(deadline)?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(());
            };
            response.trailers.push((name.to_lowercase(), value.trim().as_bytes().to_vec()));
        }
    }

    fn line(&mut self, deadline: Instant) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.require(deadline)?;
        }
    }

    /// Reads more; false at the end.
    fn fill(&mut self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut part = [0; 16384];
        match self.stream.read(&mut part) {
            Ok(length) => {
                self.buffer.extend_from_slice(&part[..length]);
                Ok(length > 0)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(late())
            }
            Err(error) => Err(error),
        }
    }

    fn require(&mut self, deadline: Instant) -> io::Result<()> {
        if self.fill(deadline)? {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection closed before the answer was complete",
            ))
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the deadline passed before the answer was complete")
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
