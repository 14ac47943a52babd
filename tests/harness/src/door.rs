//! A listening port that can be shut and opened again under the same number.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::runtime::runtime;

/// What is done with one accepted connection.
pub(crate) type Serve = dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A port on which connections are served while it is open, and refused while it is shut.
pub(crate) struct Door {
    addr: SocketAddr,
    serve: Arc<Serve>,
    state: Mutex<State>,
}

enum State {
    /// The task owns the listener and every connection: when it ends, all of them close.
    Open(JoinHandle<()>),
    /// Bound but not listening: connections are refused, and nobody else can take the port.
    Shut { _reserved: Option<Socket> },
}

impl Door {
    /// Binds `addr` (port 0 takes a free one) and serves every connection with `serve`.
    pub(crate) fn open(addr: SocketAddr, serve: Arc<Serve>) -> io::Result<Self> {
        let socket = bind(addr)?;
        let addr =
            socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))?;
        let task = listen(socket, serve.clone())?;
        Ok(Self { addr, serve, state: Mutex::new(State::Open(task)) })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Refuses connections from now on and drops those that are open. Does nothing when it is shut already.
    pub(crate) async fn shut(&self) {
        let previous =
            std::mem::replace(&mut *self.state.lock().expect("door state"), State::Shut { _reserved: None });
        let State::Open(task) = previous else { return };
        task.abort();
        let _ = task.await;
        if let Ok(socket) = bind(self.addr) {
            let mut state = self.state.lock().expect("door state");
            if matches!(*state, State::Shut { .. }) {
                *state = State::Shut { _reserved: Some(socket) };
            }
        }
    }

    /// Accepts connections again, on the same port. Does nothing when it is open already.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let mut state = self.state.lock().expect("door state");
        if matches!(*state, State::Open(_)) {
            return Ok(());
        }
        let reserved = match &mut *state {
            State::Shut { _reserved } => _reserved.take(),
            State::Open(_) => None,
        };
        let socket = match reserved {
            Some(socket) => socket,
            None => bind(self.addr)?,
        };
        *state = State::Open(listen(socket, self.serve.clone())?);
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Ok(State::Open(task)) = self.state.get_mut() {
            task.abort();
        }
    }
}

fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen(socket: Socket, serve: Arc<Serve>) -> io::Result<JoinHandle<()>> {
    socket.listen(1024)?;
    let _entered = runtime().enter();
    let listener = TcpListener::from_std(socket.into())?;
    Ok(runtime().spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream));
            }
            while connections.try_join_next().is_some() {}
        }
    }))
}
