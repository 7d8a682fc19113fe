//! A proxy on each side with mTLS between them: ours, and those it is compared with.

mod peers;
mod sidecars;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    child::Child,
    load::{self, Load, Protocol, Route},
    procfs::Usage,
};

pub(crate) use peers::{envoy, haproxy};
pub(crate) use sidecars::{Sidecars, Stage, growth, stock};

/// How the load reaches the application's ports through a pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routes {
    pub(crate) http1: Route,
    pub(crate) http2: Route,
    pub(crate) bytes: Route,
    /// To bytes without the server's side, and without TLS.
    pub(crate) clear: Route,
}

/// Two proxies.
pub(crate) struct Pair {
    /// As in the table.
    pub(crate) name: String,
    client: Child,
    server: Child,
    pub(crate) routes: Routes,
}

/// What both sides have used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Both {
    pub(crate) client: Usage,
    pub(crate) server: Usage,
}

impl Routes {
    /// For a protocol.
    pub(crate) fn of(&self, protocol: Protocol) -> Route {
        match protocol {
            Protocol::Http1 | Protocol::Http1Close | Protocol::Http1Rate(_) => self.http1,
            Protocol::Http2 | Protocol::Grpc => self.http2,
            Protocol::Connect => self.bytes,
        }
    }
}

impl Pair {
    /// What it has used; an error if a proxy is gone.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Both> {
        Ok(Both {
            client: self.client.usage()?,
            server: self.server.usage()?,
        })
    }

    /// Waits until requests pass.
    fn ready(mut self) -> anyhow::Result<Self> {
        const LIMIT: Duration = Duration::from_secs(30);
        let start = Instant::now();
        loop {
            self.usage()?;
            let load = Load::start(Protocol::Http1, self.routes.http1, 1)?;
            std::thread::sleep(Duration::from_millis(200));
            match load.stop() {
                Ok(_) => return Ok(self),
                Err(_) if start.elapsed() < LIMIT => {}
                Err(error) => {
                    let logs = format!("{}\n{}", self.client.tail(), self.server.tail());
                    return Err(error).context(format!("{} does not work:\n{logs}", self.name));
                }
            }
        }
    }
}

/// The end of a log, for somebody who waited in vain.
fn reach(ip: IpAddr, port: u16, limit: Duration, child: &mut Child) -> anyhow::Result<()> {
    let start = Instant::now();
    while std::net::TcpStream::connect((ip, port)).is_err() {
        child.usage()?;
        if start.elapsed() > limit {
            bail!("nobody listens on {ip}:{port}:\n{}", child.tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A route that needs no particular source.
fn plain(ip: IpAddr, port: u16) -> load::Route {
    Route {
        to: (ip, port).into(),
        from: None,
    }
}
