//! A loopback address of one's own, on which every port is free.
//!
//! Control planes started side by side, in one process or several, must not take each other's
//! ports between choosing and using them; so each owns an address instead.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

/// Whoever listens here owns the address.
const CLAIM: u16 = 29;
const CLAIM_UNPRIVILEGED: u16 = 20029;
const TRIES: usize = 50;

/// An address nobody else has while this lives.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) ip: IpAddr,
    _claim: TcpListener,
}

/// Takes one of 127.100.0.0 to 127.119.255.255.
pub(super) fn claim() -> io::Result<Owned> {
    let mut last = io::Error::other("no address tried");
    for _ in 0..TRIES {
        let [a, b, c]: [u8; 3] = rand::random();
        let ip = Ipv4Addr::new(127, 100 + a % 20, b, c.max(1));
        let claim = TcpListener::bind((ip, CLAIM));
        let claim = match claim {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                TcpListener::bind((ip, CLAIM_UNPRIVILEGED))
            }
            other => other,
        };
        match claim {
            Ok(claim) => {
                return Ok(Owned {
                    ip: ip.into(),
                    _claim: claim,
                });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
