//! A connection on which requests follow each other before they are answered.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use memchr::memmem;

use super::PASSED;
use crate::wait::SOON;

/// An open connection.
pub(super) struct Pipe {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// The connection ends after it.
    pub closes: bool,
    /// It is the route's.
    pub passed: bool,
}

impl Pipe {
    pub(super) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, SOON)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next answer; none where the connection ended.
    ///
    /// # Errors
    /// It does not come in time, or is none.
    pub(super) fn answer(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if let Some((answer, length)) = first(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(Some(answer));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut part = [0; 16384];
        match self.stream.read(&mut part) {
            Ok(length) => {
                self.buffer.extend_from_slice(&part[..length]);
                Ok(length > 0)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(error)
            }
            // Envoy may close before it has read everything.
            Err(_) => Ok(false),
        }
    }

    /// Sends this much and resets the connection.
    pub(super) fn write_and_reset(mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        // With nothing to linger for, the kernel resets what is closed.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Sends what may be no whole request, and a plain one that ends it: the answers that come with the first one. Where
    /// only this side of the connection ended, Envoy would not answer at all.
    pub(super) fn write_and_end(mut self, bytes: &[u8]) -> io::Result<Vec<Answer>> {
        const LAST: &[u8] = b"\r\n\r\nGET / HTTP/1.1\r\nhost: last.test\r\nconnection: close\r\n\r\n";
        // Envoy may close before it has read everything.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.write_all(LAST));
        while memmem::find(&self.buffer, b"\r\n\r\n").is_none() && self.fill()? {}
        let starts = memmem::find_iter(&self.buffer, b"HTTP/1.1 ");
        Ok(starts.filter_map(|at| head(&self.buffer[at..])).collect())
    }
}

/// Whether its answer says itself where it ends, and is one: those to HEAD and CONNECT do not, and an upgrade may not.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    const ODD: [&[u8]; 4] = [b"HEAD ", b"CONNECT ", b"TRACE ", b"X-Y "];
    !ODD.iter().any(|method| bytes.starts_with(method)) && memmem::find(bytes, b"\nconnection:").is_none()
}

/// What the head of an answer says.
fn head(bytes: &[u8]) -> Option<Answer> {
    let end = memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let head = bytes[..end].strip_prefix(b"HTTP/1.1 ")?;
    let has = |field: &str| memmem::find(head, format!("\r\n{field}").as_bytes()).is_some();
    let status = std::str::from_utf8(head.get(..3)?).ok()?.parse().ok()?;
    Some(Answer { status, closes: has("connection: close"), passed: has(PASSED) })
}

/// The first answer, and how many bytes it has, where it is complete.
fn first(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let other = || io::Error::other(format!("no HTTP answer: {:?}", String::from_utf8_lossy(&bytes[..end])));
    let answer = head(bytes).ok_or_else(other)?;
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let length = memmem::find(&bytes[..end], LENGTH).map_or(0, |at| {
        let digits = bytes[at + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
    });
    let whole = end + 4 + length;
    Ok((bytes.len() >= whole).then_some((answer, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_follow_each_other() {
        let two = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 400 Bad Request\r\nconnection: close\r\nx-passed: yes\r\n\r\n";
        for length in 0..51 {
            assert_eq!(first(&two[..length]).unwrap(), None, "{length}");
        }
        let (answer, length) = first(two).unwrap().unwrap();
        assert_eq!((answer, length), (Answer { status: 401, closes: false, passed: false }, 51));
        let (answer, rest) = first(&two[length..]).unwrap().unwrap();
        assert_eq!((answer, length + rest), (Answer { status: 400, closes: true, passed: true }, two.len()));
        assert!(first(b"SSH-2.0\r\n\r\n").is_err());
    }

    #[test]
    fn what_ends_with_its_connection_is_sent_alone() {
        assert!(is_plain(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        for odd in [
            &b"HEAD / HTTP/1.1\r\n\r\n"[..],
            b"CONNECT a:1 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nconnection: x\r\n\r\n",
        ] {
            assert!(!is_plain(odd), "{}", String::from_utf8_lossy(odd));
        }
    }
}
