//! An upstream that answers with the request it got.
//!
//! HTTP/1.1 is read here by hand rather than through a server library: a library would refuse some requests by
//! itself, and a test that asks "did anything get through?" must see those too.

mod endless;
mod http1;
mod http2;
mod record;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fmt, io};

use tokio::net::TcpStream;

pub use endless::Endless;
pub use record::Record;

use crate::door::{Door, Serve};
use crate::wait::eventually;

/// How many requests are remembered.
const KEPT: usize = 10_000;
/// How much of a body is remembered.
const BODY_KEPT: usize = 1 << 20;

/// A running upstream. It stops when it is dropped.
pub struct Upstream {
    door: Door,
    state: Arc<Shared>,
}

/// An answer to give instead of the echo.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long to wait before it.
    pub delay: Duration,
}

impl Default for Answer {
    fn default() -> Self {
        Self { status: 200, headers: Vec::new(), body: Vec::new(), delay: Duration::ZERO }
    }
}

#[derive(Default)]
struct Shared {
    count: AtomicUsize,
    records: Mutex<VecDeque<Record>>,
    answer: Mutex<Option<Answer>>,
    terse: bool,
}

impl Upstream {
    /// An echo on a free loopback port.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        Self::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("the upstream listens on a free port")
    }

    /// An echo that listens here.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::open(addr, false)
    }

    /// An upstream for measurements: it counts, but remembers nothing and answers every request `ok`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn terse() -> Self {
        Self::open(SocketAddr::from(([127, 0, 0, 1], 0)), true).expect("the upstream listens on a free port")
    }

    fn open(addr: SocketAddr, terse: bool) -> io::Result<Self> {
        let state = Arc::new(Shared { terse, ..Shared::default() });
        let served = state.clone();
        let serve: Arc<Serve> = Arc::new(move |stream| {
            let state = served.clone();
            Box::pin(async move {
                // A peer that goes away in the middle is its own affair.
                let _ = serve(stream, state).await;
            })
        });
        Ok(Self { door: Door::open(addr, serve)?, state })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.door.addr()
    }

    /// `http://` and its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// How many requests reached it, unreadable ones included.
    pub fn count(&self) -> usize {
        self.state.count.load(Ordering::Acquire)
    }

    /// The latest requests (at most ten thousand), oldest first.
    pub fn requests(&self) -> Vec<Record> {
        lock(&self.state.records).iter().cloned().collect()
    }

    /// The latest request.
    ///
    /// # Panics
    /// When there was none.
    #[track_caller]
    pub fn last(&self) -> Record {
        lock(&self.state.records).back().cloned().expect("a request reached the upstream")
    }

    /// The requests since this was last called.
    pub fn take(&self) -> Vec<Record> {
        lock(&self.state.records).drain(..).collect()
    }

    /// Gives this answer from now on; `None` makes it an echo again.
    pub fn answer_with(&self, answer: Option<Answer>) {
        *lock(&self.state.answer) = answer;
    }

    /// Waits until at least `count` requests reached it.
    ///
    /// # Panics
    /// When they did not, in time.
    #[track_caller]
    pub fn wait_for(&self, count: usize, timeout: Duration) {
        eventually(&format!("{count} requests at the upstream"), timeout, || {
            (self.count() >= count).then_some(())
        });
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({}, {} requests)", self.url(), self.count())
    }
}

impl Shared {
    /// Remembers a request and says what to answer.
    async fn answer(&self, record: Record) -> Answer {
        let set = lock(&self.answer).clone();
        let answer = match set {
            Some(answer) => answer,
            None if self.terse => Answer { body: b"ok\n".to_vec(), ..Answer::default() },
            None => {
                let mut body = record.to_json().to_string().into_bytes();
                body.push(b'\n');
                let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
                Answer { headers, body, ..Answer::default() }
            }
        };
        self.note(record);
        if !answer.delay.is_zero() {
            tokio::time::sleep(answer.delay).await;
        }
        answer
    }

    fn note(&self, mut record: Record) {
        if !self.terse {
            record.body.truncate(BODY_KEPT);
            let mut records = lock(&self.records);
            if records.len() == KEPT {
                records.pop_front();
            }
            records.push_back(record);
        }
        self.count.fetch_add(1, Ordering::AcqRel);
    }
}

async fn serve(stream: TcpStream, state: Arc<Shared>) -> io::Result<()> {
    let mut start = [0; 3];
    loop {
        match stream.peek(&mut start).await? {
            0 => return Ok(()),
            3 => break,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    // The HTTP/2 preface is the only thing that begins like this.
    if &start == b"PRI" { http2::serve(stream, state).await } else { http1::serve(stream, state).await }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
