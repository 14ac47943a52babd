//! A port that stays reserved, whoever listens on it and however often.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// A port of loopback that nobody else is given as long as this lives.
///
/// A socket that is bound and never listens keeps it: the kernel hands the port to nobody who asks for any free one,
/// neither to a server nor to a client. A program that is told the number can listen there all the same, because both
/// sockets say `SO_REUSEADDR`, as servers do. While none listens, connections are refused.
#[derive(Debug)]
pub struct Port {
    addr: SocketAddr,
    _bound: Socket,
}

impl Port {
    /// Any free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is none.
    pub fn reserve() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port")
    }

    /// The port of this address, or any free one where that is 0.
    pub(crate) fn at(addr: SocketAddr) -> io::Result<Self> {
        let bound = bind(addr)?;
        let addr =
            bound.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))?;
        Ok(Self { addr, _bound: bound })
    }

    /// The address with the port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A second socket on it, which may listen.
    pub(crate) fn socket(&self) -> io::Result<Socket> {
        bind(self.addr)
    }
}

fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_refuses_connections_and_takes_one_server_after_another() {
        let port = Port::reserve();
        assert!(TcpStream::connect(port.addr()).is_err());
        for _ in 0..3 {
            let server = TcpListener::bind(port.addr()).expect("whoever knows the number may listen");
            TcpStream::connect(port.addr()).expect("a connection");
            drop(server);
            assert!(TcpStream::connect(port.addr()).is_err());
        }
    }

    #[test]
    fn no_one_who_asks_for_any_port_gets_a_reserved_one() {
        let ports: Vec<Port> = (0..500).map(|_| Port::reserve()).collect();
        let reserved: HashSet<SocketAddr> = ports.iter().map(Port::addr).collect();
        assert_eq!(reserved.len(), ports.len());
        let listeners: Vec<_> =
            (0..500).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        for listener in &listeners {
            assert!(!reserved.contains(&listener.local_addr().expect("an address")));
        }
    }
}
