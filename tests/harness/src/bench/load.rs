//! A load generator: so many connections, each with one request in flight.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::client::TIMEOUT;

/// Open connections to one listener.
#[derive(Debug)]
pub struct Load {
    connections: Vec<Connection>,
    /// Where in the list of requests the next one is.
    next: usize,
    /// The status of every answer.
    status: &'static str,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What has arrived of an answer that is not complete.
    buffer: Vec<u8>,
}

impl Load {
    /// Connects. `status` is what every answer will have.
    ///
    /// # Errors
    /// The listener cannot be reached.
    pub fn open(addr: SocketAddr, connections: usize, status: &'static str) -> io::Result<Self> {
        let open = |_| {
            let stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            Ok(Connection { stream, buffer: Vec::new() })
        };
        let connections = (0..connections.max(1)).map(open).collect::<io::Result<_>>()?;
        Ok(Self { connections, next: 0, status })
    }

    /// Sends `count` requests, one after another from the list and from its start again, and waits for the answers.
    ///
    /// # Errors
    /// An answer does not come, or has another status.
    pub fn drive(&mut self, requests: &[Vec<u8>], count: usize) -> io::Result<()> {
        let busy = count.min(self.connections.len());
        for turn in 0..count {
            let connection = &mut self.connections[turn % busy];
            // The others have a request in flight meanwhile, so that Envoy seldom has to wait for one.
            if turn >= busy {
                connection.drain(self.status)?;
            }
            self.next = (self.next + 1) % requests.len();
            connection.stream.write_all(&requests[self.next])?;
        }
        for turn in count - busy..count {
            self.connections[turn % busy].drain(self.status)?;
        }
        Ok(())
    }
}

impl Connection {
    /// Reads one answer.
    fn drain(&mut self, status: &str) -> io::Result<()> {
        let mut part = [0; 16384];
        loop {
            let length = self.stream.read(&mut part)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&part[..length]);
            match answer(&self.buffer, status)? {
                None => {}
                Some(0) => {
                    self.buffer.clear();
                    return Ok(());
                }
                Some(_) => return Err(io::Error::other("an answer that nothing asked for")),
            }
        }
    }
}

/// How many bytes follow the first answer in `bytes`, where that is complete.
fn answer(bytes: &[u8], status: &str) -> io::Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..end];
    if head.get(9..12) != Some(status.as_bytes()) {
        return Err(io::Error::other(format!("not {status}: {}", String::from_utf8_lossy(bytes))));
    }
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let length = memchr::memmem::find(head, LENGTH).map_or(0, |at| {
        let digits = head[at + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
    });
    Ok(bytes.len().checked_sub(end + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        for length in 0..whole.len() {
            assert_eq!(answer(&whole[..length], "200").unwrap(), None, "{length}");
        }
        assert_eq!(answer(whole, "200").unwrap(), Some(0));
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\n\r\nHTTP", "200").unwrap(), Some(4));
        assert!(answer(b"HTTP/1.1 401 Unauthorized\r\n\r\n", "200").is_err());
        assert!(answer(whole, "401").is_err());
    }
}
