//! HTTP/1.1, read by hand.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, BODY_KEPT, Record, Shared};

/// The largest head that is read.
const HEAD: usize = 1 << 20;

pub(super) async fn serve(stream: TcpStream, state: Arc<Shared>) -> io::Result<()> {
    let mut wire = Reader { stream, buffer: Vec::new() };
    loop {
        let Some(head) = wire.head().await? else {
            return Ok(());
        };
        let mut record = match head {
            Ok(record) => record,
            Err(bytes) => {
                state.note(Record { path: bytes, malformed: true, ..Record::default() });
                return wire
                    .stream
                    .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
            }
        };
        wire.body(&mut record).await?;
        let is_head = record.method == "HEAD";
        let close = record.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let answer = state.answer(record).await;
        wire.stream.write_all(&encode(&answer, is_head)).await?;
        if close {
            return wire.stream.shutdown().await;
        }
    }
}

struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads more; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    async fn require(&mut self) -> io::Result<()> {
        if self.fill().await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next request without its body; `Err` with the bytes when they are no HTTP, `None` at the end.
    async fn head(&mut self) -> io::Result<Option<Result<Record, Vec<u8>>>> {
        loop {
            if !self.buffer.is_empty() {
                let mut fields = [httparse::EMPTY_HEADER; 512];
                let mut request = httparse::Request::new(&mut fields);
                match request.parse(&self.buffer) {
                    Ok(httparse::Status::Complete(length)) => {
                        let record = record(&request);
                        self.buffer.drain(..length);
                        return Ok(Some(Ok(record)));
                    }
                    Ok(httparse::Status::Partial) if self.buffer.len() < HEAD => {}
                    _ => return Ok(Some(Err(std::mem::take(&mut self.buffer)))),
                }
            }
            if !self.fill().await? {
                // Bytes without an end are noted as well: something got through.
                let rest = std::mem::take(&mut self.buffer);
                return Ok((!rest.is_empty()).then_some(Err(rest)));
            }
        }
    }

    async fn body(&mut self, record: &mut Record) -> io::Result<()> {
        let expects = record.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if expects {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let chunked =
            record.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if !chunked {
            let length = record.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            return self.take(length, record).await;
        }
        loop {
            let line = self.line().await?;
            let size = String::from_utf8_lossy(&line);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if size == 0 {
                break;
            }
            self.take(size, record).await?;
            self.line().await?;
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            let value = line.get(colon + 1..).unwrap_or_default().trim_ascii().to_vec();
            record.trailers.push((name, value));
        }
    }

    async fn take(&mut self, mut length: usize, record: &mut Record) -> io::Result<()> {
        record.body_length += length;
        while length > 0 {
            if self.buffer.is_empty() {
                self.require().await?;
            }
            let part = length.min(self.buffer.len());
            let room = BODY_KEPT.saturating_sub(record.body.len());
            record.body.extend(self.buffer.drain(..part).take(room));
            length -= part;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            self.require().await?;
        }
    }
}

fn record(request: &httparse::Request<'_, '_>) -> Record {
    let headers: Vec<(String, Vec<u8>)> =
        request.headers.iter().map(|field| (field.name.to_lowercase(), field.value.to_vec())).collect();
    let mut record = Record {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().as_bytes().to_vec(),
        version: "HTTP/1.1",
        headers,
        ..Record::default()
    };
    record.authority = record.header("host");
    record
}

fn encode(answer: &Answer, is_head: bool) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {} Answer\r\ncontent-length: {}\r\n", answer.status, answer.body.len())
        .into_bytes();
    for (name, value) in &answer.headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    if !is_head {
        bytes.extend(&answer.body);
    }
    bytes
}
