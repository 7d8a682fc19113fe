//! Somebody next door: a network namespace of a thread's own, and a cable between it and here.
//!
//! The namespace ends with the thread, and the cable with the namespace, however this ends.

use super::Family;
use anyhow::{Context as _, bail};
use rustix::thread::{UnshareFlags, gettid};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::Command,
    sync::mpsc,
    time::Duration,
};

/// What the thread does there.
type Errand = Box<dyn FnOnce() + Send>;

/// The thread's end of a channel, and the addresses of both ends of the cable.
pub(super) struct Neighbour {
    errands: mpsc::Sender<Errand>,
    family: Family,
}

impl Neighbour {
    pub(super) fn new(family: Family) -> anyhow::Result<Self> {
        if !super::tool::is_there("ip") {
            bail!("there is no `ip` in PATH to make a neighbour with");
        }
        let (errands, inbox) = mpsc::channel::<Errand>();
        let (moved, arrived) = mpsc::channel();
        std::thread::Builder::new()
            .name("neighbour".to_owned())
            .spawn(move || {
                let tid = own_network().map(|()| gettid().as_raw_nonzero());
                let failed = tid.is_err();
                if moved.send(tid).is_err() || failed {
                    return;
                }
                inbox.iter().for_each(|errand| errand());
            })?;
        let tid = arrived
            .recv()
            .context("the neighbour ended")?
            .context("cannot make a network namespace")?;
        let neighbour = Self { errands, family };
        neighbour.connect_cable(tid.get())?;
        Ok(neighbour)
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The address of this end.
    pub(super) fn ours(&self) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x192, 0, 0, 0, 0, 1).into(),
        }
    }

    fn theirs(&self) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 2).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x192, 0, 0, 0, 0, 2).into(),
        }
    }

    /// Connects from next door.
    pub(super) fn connect(&self, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        self.there(move || TcpStream::connect_timeout(&to, timeout))?
    }

    fn connect_cable(&self, tid: i32) -> anyhow::Result<()> {
        let (near, far) = (format!("mi{tid}"), format!("mj{tid}"));
        let prefix = match self.family {
            Family::V4 => 30,
            Family::V6 => 126,
        };
        let (ours, theirs) = (self.ours(), self.theirs());
        ip(&format!(
            "link add {near} type veth peer name {far} netns {tid}"
        ))?;
        // An address is usable at once without the search for others who have it.
        ip(&format!(
            "addr add {ours}/{prefix} dev {near}{}",
            self.nodad()
        ))?;
        ip(&format!("link set {near} up"))?;
        let nodad = self.nodad();
        self.there(move || {
            ip(&format!("addr add {theirs}/{prefix} dev {far}{nodad}"))?;
            ip(&format!("link set {far} up"))
        })?
    }

    fn nodad(&self) -> &'static str {
        match self.family {
            Family::V4 => "",
            Family::V6 => " nodad",
        }
    }

    fn there<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (done, result) = mpsc::channel();
        let errand = Box::new(move || {
            let _nobody_waits = done.send(f());
        });
        let gone = || io::Error::other("the neighbour ended");
        self.errands.send(errand).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())
    }
}

#[allow(
    deprecated,
    reason = "its fault is UnshareFlags::FILES, which is not asked for"
)]
fn own_network() -> io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNET)?)
}

fn ip(words: &str) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(words.split_ascii_whitespace())
        .output()
        .context("cannot run ip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {words}: {}", said.trim());
    }
    Ok(())
}
