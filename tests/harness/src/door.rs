//! A listening port that can be shut and opened again under the same number.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use socket2::Socket;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::port::Port;
use crate::runtime::runtime;

/// What is done with one accepted connection.
pub(crate) type Serve = dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A port on which connections are served while it is open, and refused while it is shut.
pub(crate) struct Door {
    port: Port,
    serve: Arc<Serve>,
    /// The task that owns the listener and every connection while it is open: when it ends, all of them close.
    open: Mutex<Option<JoinHandle<()>>>,
}

impl Door {
    /// Binds `addr` (port 0 takes a free one) and serves every connection with `serve`.
    pub(crate) fn open(addr: SocketAddr, serve: Arc<Serve>) -> io::Result<Self> {
        let port = Port::at(addr)?;
        let task = listen(port.socket()?, serve.clone())?;
        Ok(Self { port, serve, open: Mutex::new(Some(task)) })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Refuses connections from now on and drops those that are open. Does nothing when it is shut already.
    pub(crate) async fn shut(&self) {
        let task = self.open.lock().expect("door state").take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    /// Accepts connections again, on the same port. Does nothing when it is open already.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let mut open = self.open.lock().expect("door state");
        if open.is_none() {
            *open = Some(listen(self.port.socket()?, self.serve.clone())?);
        }
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Ok(Some(task)) = self.open.get_mut() {
            task.abort();
        }
    }
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
