//! Where a run happens: a folder, loopback addresses of its own, certificates.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use mesh_tls::{Id, testing::Issuer};
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;

/// Who the client's side is.
pub(crate) const CLIENT: &str = "client.bench.serviceaccount.identity.linkerd.cluster.local";
/// Who the server's side is.
pub(crate) const SERVER: &str = "server.bench.serviceaccount.identity.linkerd.cluster.local";
/// Who the gateway is.
pub(crate) const GATEWAY: &str = "gateway.bench.serviceaccount.identity.linkerd.cluster.local";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A run's place.
pub(crate) struct Place {
    dir: TempDir,
    /// The second octet of every address of the run.
    net: u8,
    /// Where the server's side is if it may not be on a loopback address.
    routable: Option<Routable>,
}

/// An address of this machine that is not a loopback address, and leads nowhere else. It goes
/// with this.
struct Routable;

const ROUTABLE: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);

/// The hosts of a run; each is an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Host {
    /// The client's sidecar.
    Client,
    /// The server's sidecar, and the application beside it.
    Server,
    /// The gateway.
    Gateway,
    /// The delaying relay.
    Relay,
    /// The load, where it must say by its address whom it means.
    Load(u8),
    /// One of many endpoints, all of them the server.
    Endpoint(u16),
}

impl Place {
    /// A new one, for people who trust `anchors` and are certified by `issuer`.
    /// With `routable`, the server's address is not a loopback address: stock sidecars connect to
    /// no other. That takes root.
    pub(crate) fn new(issuer: &Issuer, anchors: &str, routable: bool) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("mesh-bench-").tempdir()?;
        let place = Self {
            dir,
            net: 64 + (std::process::id() % 128) as u8,
            routable: routable.then(Routable::add).transpose()?,
        };
        fs::write(place.dir().join("ca.crt"), anchors)?;
        fs::write(place.dir().join("token"), "token")?;
        place.leaf(issuer, "client", CLIENT)?;
        place.leaf(issuer, "server", SERVER)?;
        Ok(place)
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A host's address.
    pub(crate) fn ip(&self, host: Host) -> IpAddr {
        let (c, d) = match host {
            Host::Server if self.routable.is_some() => return ROUTABLE.into(),
            Host::Client => (1, 1),
            Host::Server => (2, 1),
            Host::Gateway => (3, 1),
            Host::Relay => (4, 1),
            Host::Load(k) => (9, k),
            Host::Endpoint(i) => (100 + (i >> 8) as u8, (i & 255) as u8),
        };
        Ipv4Addr::new(127, self.net, c, d).into()
    }

    /// A port of a host.
    pub(crate) fn addr(&self, host: Host, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(host), port)
    }

    /// What a stock sidecar's start script makes for it: a key and a request to certify it. Returns
    /// the folder.
    pub(crate) fn stock_identity(&self, id: &str) -> anyhow::Result<String> {
        let dir = self.dir().join(id);
        fs::create_dir_all(&dir)?;
        mesh_tls::write_end_entity(&dir, &id.parse()?)?;
        Ok(dir.display().to_string())
    }

    /// Certificate and key as files, for those who do not ask the control plane.
    fn leaf(&self, issuer: &Issuer, name: &str, id: &str) -> anyhow::Result<()> {
        let id: Id = id.parse()?;
        let (certified, key) = issuer.leaf(&id, DAY);
        let PrivateKeyDer::Pkcs8(key) = key else {
            anyhow::bail!("a key of another kind");
        };
        let mut chain = pem("CERTIFICATE", &certified.leaf);
        for intermediate in &certified.intermediates {
            chain.push_str(&pem("CERTIFICATE", intermediate));
        }
        let key = pem("PRIVATE KEY", key.secret_pkcs8_der());
        let write = |suffix: &str, text: &str| {
            let path = self.dir().join(format!("{name}.{suffix}"));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("crt", &chain)?;
        write("key", &key)?;
        write("pem", &format!("{chain}{key}"))
    }
}

impl Routable {
    fn add() -> anyhow::Result<Self> {
        // Left by a run that was killed, it is as good as a new one.
        drop(Self);
        let added = ip("add")?;
        anyhow::ensure!(
            added,
            "`ip addr add {ROUTABLE}/32 dev lo` failed; it takes root"
        );
        Ok(Self)
    }
}

impl Drop for Routable {
    fn drop(&mut self) {
        // There may be none.
        let _ = ip("del");
    }
}

fn ip(action: &str) -> anyhow::Result<bool> {
    let mut command = Command::new("ip");
    command.args(["addr", action, &format!("{ROUTABLE}/32"), "dev", "lo"]);
    command.stderr(Stdio::null());
    Ok(command.status().context("cannot run ip")?.success())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_has_lines_of_64() {
        let text = pem("X", &[0; 50]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "-----BEGIN X-----");
        assert_eq!(lines[1].len(), 64);
        assert_eq!(lines[2].len(), 4);
        assert_eq!(lines[3], "-----END X-----");
    }

    #[test]
    fn hosts_do_not_share_addresses() {
        let ca = mesh_tls::testing::Ca::new("root");
        let place = Place::new(&ca.issuer("issuer"), &ca.0.cert_pem(), false).unwrap();
        let hosts = [
            Host::Client,
            Host::Server,
            Host::Gateway,
            Host::Relay,
            Host::Load(1),
            Host::Load(2),
            Host::Endpoint(1),
            Host::Endpoint(257),
        ];
        let ips: std::collections::BTreeSet<_> = hosts.map(|host| place.ip(host)).into();
        assert_eq!(ips.len(), hosts.len());
    }
}
