//! Where the host listens, and the connection to it. It is as untrusted as the machine: who answers there is believed nothing.

use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fmt, io,
    net::{SocketAddr, TcpStream},
    str::FromStr,
};

/// The address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// For SGX.
    Tcp(SocketAddr),
    /// For guests.
    Vsock {
        /// The machine: 2 is the one below the guest.
        cid: u32,
        /// The port there.
        port: u32,
    },
}

impl Host {
    /// Connects to it.
    pub fn connect(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
            Self::Vsock { cid, port } => {
                let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
                socket.connect(&SockAddr::vsock(cid, port))?;
                Ok(socket)
            }
        }
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse().map_err(|_| "CID and port are numbers below 2^32");
        match text.split_once(':') {
            Some(("tcp", address)) => {
                address.parse().map(Self::Tcp).map_err(|_| "after tcp: come an IP address and a port")
            }
            Some(("vsock", address)) => {
                let (cid, port) = address.split_once(':').ok_or("after vsock: come a CID and a port")?;
                Ok(Self::Vsock { cid: number(cid)?, port: number(port)? })
            }
            _ => Err("it begins with tcp: or vsock:"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, net::TcpListener};

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["tcp:127.0.0.1:7000", "tcp:[::1]:7000", "vsock:2:4294967295"] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), text);
        }
        for wrong in
            ["", "7000", "unix:/s", "tcp:7000", "tcp:localhost:7000", "vsock:2", "vsock:2:", "vsock:2:4294967296"]
        {
            assert!(wrong.parse::<Host>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_reached_by_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        drop(Host::Tcp(listener.local_addr().unwrap()).connect().unwrap());
        assert_eq!(listener.accept().unwrap().0.read(&mut [0]).unwrap(), 0);
    }
}
