//! Proof of the redirection: connections are made, and it is looked where they arrive.
//!
//! Outbound, an address that exists nowhere (TEST-NET) is connected to: only a redirection can
//! answer. Inbound, a neighbour is needed, so one is made: a network namespace that lives as long
//! as a thread, at the other end of a cable. Where the sidecar does not run yet its ports are
//! listened on here, and the original destination is looked at too.

use super::{
    ports::Ports,
    rules::{Family, Redirect},
    tool,
};
use crate::checks::{Outcome, Report};
use anyhow::{Context as _, bail, ensure};
use socket2::SockRef;
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

mod neighbour;

const TIMEOUT: Duration = Duration::from_secs(3);
/// What must not arrive is waited for no longer than this.
const SILENCE: Duration = Duration::from_millis(800);
const WORD: &[u8; 4] = b"mesh";

/// Adds what holds and what does not to `report`.
pub(super) async fn prove(redirect: &Redirect, families: &[Family], report: &mut Report) {
    let (redirect, families) = (redirect.clone(), families.to_vec());
    let proved = tokio::task::spawn_blocking(move || {
        let mut report = Report::default();
        for family in families {
            prove_family(&redirect, family, &mut report);
        }
        report
    });
    match proved.await {
        Ok(found) => report.checks.extend(found.checks),
        Err(error) => {
            let failed = Err::<(), _>(anyhow::Error::new(error));
            report.require("the check itself works", failed, "this is a bug");
        }
    }
}

fn prove_family(redirect: &Redirect, family: Family, report: &mut Report) {
    let name = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    if !reaches_out(family) {
        let outcome = match family {
            // Nothing can leave, so nothing can leave past the sidecar.
            Family::V6 => Outcome::Success,
            Family::V4 => Outcome::Warning {
                cause: "this network namespace has no default route".to_owned(),
                remedy: "run it in the pod, after its network is set up".to_owned(),
            },
        };
        report.add(
            format!("{name}: nothing leaves, there is no route"),
            outcome,
        );
        return;
    }
    report.require(
        format!(
            "{name}: what goes out arrives at port {}",
            redirect.outbound_port
        ),
        outbound(redirect, family),
        "run `mesh proxy-init` in this network namespace, with the flags given here",
    );
    let exempt = format!("{name}: what uid {} sends is left alone", redirect.uid);
    if rustix::process::geteuid().is_root() {
        report.require(
            exempt,
            own_traffic(redirect, family),
            "run `mesh proxy-init` with --proxy-uid set to the user the sidecar runs as",
        );
    } else {
        report.add(exempt, not_proved("only root can send as another user"));
    }
    let inbound = format!(
        "{name}: what comes in arrives at port {}",
        redirect.inbound_port
    );
    match neighbour::Neighbour::new(family) {
        Ok(neighbour) => {
            report.require(
                inbound,
                self::inbound(redirect, &neighbour),
                "run `mesh proxy-init` in this network namespace, with the flags given here",
            );
        }
        Err(error) => report.add(inbound, not_proved(&format!("{error:#}"))),
    }
}

fn not_proved(cause: &str) -> Outcome {
    Outcome::Warning {
        cause: format!("not proved: {cause}"),
        remedy: "run the check as root with CAP_NET_ADMIN where `ip` is installed".to_owned(),
    }
}

/// An address of TEST-NET-2, or its like: routed nowhere.
fn nowhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 51, 100, 7).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 7).into(),
    }
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Whether there is a route to anywhere: a connected datagram socket sends nothing.
fn reaches_out(family: Family) -> bool {
    std::net::UdpSocket::bind((any(family), 0))
        .and_then(|socket| socket.connect((nowhere(family), 9)))
        .is_ok()
}

/// A port that is to be redirected, and that nobody is likely to use.
fn free_port(only: &[Ports], skip: &[Ports], ours: &[u16]) -> anyhow::Result<u16> {
    let to_skip = |port: &u16| skip.iter().any(|s| s.contains(*port)) || ours.contains(port);
    let wanted = |port: &u16| only.is_empty() || only.iter().any(|o| o.contains(*port));
    let port = (20_001..=u16::MAX)
        .chain(1..=20_000)
        .find(|port| wanted(port) && !to_skip(port));
    port.context("the flags leave no port to redirect")
}

fn outbound(redirect: &Redirect, family: Family) -> anyhow::Result<()> {
    let ours = [redirect.inbound_port, redirect.outbound_port];
    let port = free_port(&[], &redirect.skip_outbound, &ours)?;
    let target = SocketAddr::new(nowhere(family), port);
    ensure!(
        !redirect
            .skip_subnets
            .iter()
            .any(|s| s.contains(&target.ip())),
        "--subnets-to-ignore has {}, which is what would be tried",
        target.ip()
    );
    ensure!(
        rustix::process::geteuid().as_raw() != redirect.uid,
        "this runs as uid {}, whose traffic is never redirected; run the check as another user",
        redirect.uid
    );
    let sidecar = SocketAddr::new(loopback(family), redirect.outbound_port);
    arrives(sidecar, target, || {
        TcpStream::connect_timeout(&target, TIMEOUT)
    })
}

fn inbound(redirect: &Redirect, neighbour: &neighbour::Neighbour) -> anyhow::Result<()> {
    let ours = [redirect.inbound_port, redirect.outbound_port];
    let port = free_port(&redirect.only_inbound, &redirect.skip_inbound, &ours)?;
    let target = SocketAddr::new(neighbour.ours(), port);
    let sidecar = SocketAddr::new(any(neighbour.family()), redirect.inbound_port);
    arrives(sidecar, target, || neighbour.connect(target, TIMEOUT))?;
    let Some(skipped) = redirect.skip_inbound.first().map(|ports| ports.first) else {
        return Ok(());
    };
    // Whoever listens there may answer; the sidecar's port must not.
    let Ok(listener) = TcpListener::bind(sidecar) else {
        return Ok(());
    };
    let _refused = neighbour.connect(SocketAddr::new(neighbour.ours(), skipped), SILENCE);
    match accepted(&listener, Duration::ZERO)? {
        None => Ok(()),
        Some(_) => bail!(
            "port {skipped} is to be left alone, but arrives at port {}",
            redirect.inbound_port
        ),
    }
}

/// Connects to `target`, where nobody listens; `sidecar` must answer.
fn arrives(
    sidecar: SocketAddr,
    target: SocketAddr,
    connect: impl FnOnce() -> io::Result<TcpStream>,
) -> anyhow::Result<()> {
    let listener = match TcpListener::bind(sidecar) {
        Ok(listener) => listener,
        // The sidecar runs. Nobody else can answer for the target.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return connect()
                .map(drop)
                .map_err(|error| not_redirected(&error, target));
        }
        Err(error) => return Err(error).context(format!("cannot listen on {sidecar}")),
    };
    let mut client = connect().map_err(|error| not_redirected(&error, target))?;
    let Some(mut server) = accepted(&listener, TIMEOUT)? else {
        bail!(
            "somebody answers for {target}, but not port {}",
            sidecar.port()
        );
    };
    let original = original_destination(&server).context(
        "it arrives, but the kernel does not tell where it was going: is connection tracking there?",
    )?;
    ensure!(
        original == target,
        "it arrives, but the kernel says that it was going to {original}, not to {target}"
    );
    server.write_all(WORD)?;
    client.set_read_timeout(Some(TIMEOUT))?;
    let mut word = [0; WORD.len()];
    client
        .read_exact(&mut word)
        .context("it arrives, but no answer comes back")?;
    ensure!(&word == WORD, "what comes back is not what was sent");
    Ok(())
}

fn not_redirected(error: &io::Error, target: SocketAddr) -> anyhow::Error {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "refused: it is not redirected, or the sidecar does not listen where it is led"
        }
        io::ErrorKind::TimedOut => "nobody answers: it leaves past the sidecar",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "unreachable: it leaves past the sidecar"
        }
        _ => "it fails",
    };
    anyhow::anyhow!("a connection to {target}: {why} ({error})")
}

/// The proxy's own traffic, sent by a process of its user, must not come back to it.
fn own_traffic(redirect: &Redirect, family: Family) -> anyhow::Result<()> {
    let ours = [redirect.inbound_port, redirect.outbound_port];
    let port = free_port(&[], &redirect.skip_outbound, &ours)?;
    let target = SocketAddr::new(nowhere(family), port);
    let listener = TcpListener::bind((loopback(family), redirect.outbound_port));
    let status = Command::new("/proc/self/exe")
        .args(["proxy-init", "--probe", &target.to_string()])
        .uid(redirect.uid)
        .gid(redirect.gid.unwrap_or(redirect.uid))
        .stderr(std::process::Stdio::null())
        .status()
        .context("cannot send as the sidecar's user")?;
    let seen = match &listener {
        Ok(listener) => accepted(listener, Duration::ZERO)?.is_some(),
        Err(_) => false,
    };
    ensure!(
        !status.success() && !seen,
        "it is led back to port {}: the sidecar would talk to itself for ever",
        redirect.outbound_port
    );
    Ok(())
}

/// `--probe`: an error unless somebody answers.
pub(super) fn probe(target: SocketAddr) -> anyhow::Result<()> {
    TcpStream::connect_timeout(&target, SILENCE)?;
    Ok(())
}

/// The next connection, if one comes in time.
fn accepted(listener: &TcpListener, patience: Duration) -> io::Result<Option<TcpStream>> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + patience;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Ok(None);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
}

fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let address = match stream.local_addr()? {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    address
        .as_socket()
        .ok_or_else(|| io::Error::other("no internet address"))
}
