//! `linkerd-await`: ends once the sidecar beside it is ready.
//!
//! Run by the kubelet right after the sidecar's start, so that it starts the pod's other containers
//! no sooner. Configured by the flags Linkerd's program has, and by nothing else.

use mesh_contract::names::AWAIT as NAME;
use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

const ASK: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    port: u16,
    timeout: Option<Duration>,
}

/// Whether the program was called for this.
pub fn is_asked() -> bool {
    let called = std::env::args_os().next();
    let called = called.as_deref().map(Path::new).and_then(Path::file_name);
    called == Some(OsStr::new(NAME))
}

/// Waits, as the flags say.
pub fn run() -> ExitCode {
    let wait = match parse(std::env::args().skip(1)) {
        Ok(wait) => wait,
        Err(mistake) => {
            eprintln!("{NAME}: {mistake}");
            return ExitCode::from(64);
        }
    };
    let started = Instant::now();
    // Where the sidecar beside this listens: the pod's own loopback address, but in the `loopback`
    // network.
    let addr = mesh_daemon::net::listen_addr((Ipv4Addr::LOCALHOST, wait.port).into());
    while !is_ready(addr) {
        if wait
            .timeout
            .is_some_and(|timeout| started.elapsed() >= timeout)
        {
            eprintln!("{NAME}: the sidecar is not ready; its log says why");
            return ExitCode::FAILURE;
        }
        sleep(PAUSE);
    }
    ExitCode::SUCCESS
}

fn parse(args: impl Iterator<Item = String>) -> Result<Wait, String> {
    let mut wait = Wait {
        port: mesh_contract::ports::ADMIN,
        timeout: None,
    };
    for arg in args {
        let (flag, value) = arg.split_once('=').unwrap_or((&arg, ""));
        let wrong = || format!("{arg:?} is not understood");
        match flag {
            "--port" => wait.port = value.parse().map_err(|_| wrong())?,
            "--timeout" => {
                let timeout = mesh_daemon::args::duration(value).map_err(|_| wrong())?;
                wait.timeout = Some(timeout);
            }
            _ => return Err(wrong()),
        }
    }
    Ok(wait)
}

/// Whether `/ready` answers 200.
fn is_ready(addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut io = TcpStream::connect_timeout(&addr, ASK)?;
        io.set_read_timeout(Some(ASK))?;
        io.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        io.read_exact(&mut status)?;
        Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn flags_are_those_of_the_hook() {
        let parsed = |args: &[&str]| parse(args.iter().map(|arg| (*arg).to_owned()));
        let hook = parsed(&["--timeout=2m", "--port=5191"]).unwrap();
        assert_eq!(hook.port, 5191);
        assert_eq!(hook.timeout, Some(Duration::from_secs(120)));
        for wrong in ["--port=http", "--timeout=soon", "--shutdown"] {
            assert!(parsed(&[wrong]).unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn ready_is_an_answer_of_200_and_nothing_else() {
        for (answer, ready) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("garbage", false),
        ] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let addr = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut io, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let _ = io.read(&mut request).unwrap();
                io.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(is_ready(addr), ready, "{answer:?}");
            server.join().unwrap();
            assert!(!is_ready(addr), "nobody listens any more");
        }
    }
}
