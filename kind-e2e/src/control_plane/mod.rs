//! A real control plane: etcd, kube-apiserver and kube-controller-manager as child processes.
//!
//! Tests start one (or several: each owns a loopback address), use its kubeconfig, and drop it.
//! Nothing of it outlives the process that started it. There is no scheduler and no kubelet.

mod address;
mod credentials;
mod process;

use crate::assets::Assets;
use credentials::Credentials;
use process::Guarded;
use rustix::process::{Pid, Signal, kill_process};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
/// The port of the API server.
const PORT: u16 = 6443;
/// The folder of etcd, in that of the control plane.
const STORE: &str = "etcd";

/// How to run one.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster and of the kubeconfig's context.
    pub name: String,
    /// Addresses of Services: network and prefix length.
    pub service_cidr: (Ipv4Addr, u8),
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Where the API server listens, such as the address of a bridge pods are on, who then find
    /// it as the endpoint of Service `kubernetes`. By default it is the control plane's own
    /// loopback address, and there is no endpoint.
    pub bind: Option<IpAddr>,
    /// More addresses the serving certificate is good for.
    pub extra_addresses: Vec<IpAddr>,
    /// Users besides the administrator.
    pub users: Vec<User>,
    /// More flags of kube-apiserver.
    pub apiserver_flags: Vec<String>,
    /// Whether kube-controller-manager runs too.
    pub controllers: bool,
    /// Where its files are, made if missing and kept when it ends. By default in a folder of its
    /// own that goes with it.
    pub dir: Option<PathBuf>,
}

/// A user who shows a token.
#[derive(Clone, Debug)]
pub struct User {
    /// What they show.
    pub token: String,
    /// Their name.
    pub name: String,
    /// Their groups.
    pub groups: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "real".into(),
            service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
            cluster_domain: "cluster.local".into(),
            bind: None,
            extra_addresses: Vec::new(),
            users: Vec::new(),
            apiserver_flags: Vec::new(),
            controllers: true,
            dir: None,
        }
    }
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or process could not be made.
    #[error("setting up a control plane: {0}")]
    Io(#[from] std::io::Error),
    /// A certificate could not be made.
    #[error("making certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A process ended.
    #[error("{0}")]
    Ended(String),
    /// It takes too long.
    #[error("the control plane was not ready in time: {waited_for}; last answer: {last}")]
    Slow {
        /// What did not come.
        waited_for: &'static str,
        /// What was said instead.
        last: String,
    },
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Of etcd.
    pub etcd: u64,
    /// Of kube-apiserver.
    pub apiserver: u64,
    /// Of kube-controller-manager.
    pub controllers: u64,
}

/// One that runs. Dropping it ends it.
pub struct ControlPlane {
    // In the order they are stopped.
    controllers: Option<Guarded>,
    apiserver: Option<Guarded>,
    etcd: Guarded,
    address: address::Owned,
    credentials: Credentials,
    config: Config,
    assets: Assets,
    dir: PathBuf,
    _removed: Option<tempfile::TempDir>,
}

impl ControlPlane {
    /// Starts one; returns when it is ready and has its `default` namespace.
    pub fn start(assets: &Assets, config: Config) -> Result<Self, Error> {
        let address = address::claim()?;
        let (dir, removed) = folder(config.dir.as_deref())?;
        let ip = config.bind.unwrap_or(address.ip);
        let credentials = Credentials::write(&dir, ip, &config)?;
        let server = format!("https://{ip}:{PORT}");
        let token = &credentials.admin_token;
        let kubeconfig = credentials.kubeconfig(&config.name, &server, token);
        std::fs::write(dir.join("kubeconfig"), kubeconfig)?;
        let etcd = start_etcd(assets, address.ip, &dir)?;
        let mut plane = Self {
            controllers: None,
            apiserver: None,
            etcd,
            address,
            credentials,
            config,
            assets: assets.clone(),
            dir,
            _removed: removed,
        };
        plane.start_apiserver()?;
        plane.start_controllers()?;
        Ok(plane)
    }

    fn start_controllers(&mut self) -> Result<(), Error> {
        if !self.config.controllers {
            return Ok(());
        }
        let (program, flags) = (&self.assets.controller_manager, self.controller_flags());
        let started = Guarded::start("controllers", program, &flags, &self.dir)?;
        self.controllers = Some(started);
        let account = ["get", "sa", "default", "-n", "default"];
        self.wait_for("ServiceAccount default", &account)
    }

    /// Starts the API server again after [`Self::stop_apiserver`]; returns when it is ready.
    pub fn start_apiserver(&mut self) -> Result<(), Error> {
        let (program, flags) = (&self.assets.apiserver, self.apiserver_flags());
        self.apiserver = Some(Guarded::start("apiserver", program, &flags, &self.dir)?);
        self.wait_for("the API server's /readyz", &["get", "--raw", "/readyz"])?;
        self.wait_for("namespace default", &["get", "namespace", "default"])
    }

    /// Kills the API server; what it stored stays.
    pub fn stop_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Keeps what is stored now, for [`Self::restore`]. Everything is away for that long.
    pub fn save(&mut self) -> Result<(), Error> {
        self.with_store(copy)
    }

    /// Goes back to what was stored at [`Self::save`], as from a backup: all of the control plane
    /// starts anew, at an earlier revision than it has told its clients of.
    pub fn restore(&mut self) -> Result<(), Error> {
        self.with_store(|store, kept| copy(kept, store))
    }

    /// Has something done to the files of etcd, and of the backup, while nobody uses them.
    fn with_store(
        &mut self,
        act: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        self.controllers = None;
        self.apiserver = None;
        self.etcd.stop();
        act(&self.dir.join(STORE), &self.dir.join("backup"))?;
        self.etcd = start_etcd(&self.assets, self.address.ip, &self.dir)?;
        self.start_apiserver()?;
        self.start_controllers()
    }

    /// Stops all of it where it is: it listens, and says nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let all = [
            self.controllers.as_ref(),
            self.apiserver.as_ref(),
            Some(&self.etcd),
        ];
        for pid in all.into_iter().flatten().filter_map(Guarded::pid) {
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                let _gone_already = kill_process(pid, signal);
            }
        }
    }

    /// Where it is.
    pub fn server(&self) -> String {
        let ip = self.config.bind.unwrap_or(self.address.ip);
        format!("https://{ip}:{PORT}")
    }

    /// Its loopback address, on which nobody else listens.
    pub fn address(&self) -> IpAddr {
        self.address.ip
    }

    /// What its certificates are signed by.
    pub fn ca_pem(&self) -> &str {
        &self.credentials.ca_pem
    }

    /// What the administrator shows.
    pub fn admin_token(&self) -> &str {
        &self.credentials.admin_token
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// A kubeconfig for a token and an address the server is reached at.
    pub fn kubeconfig_for(&self, token: &str, server: &str) -> String {
        self.credentials
            .kubeconfig(&self.config.name, server, token)
    }

    /// The folder of its files: `*.log`, `ca.crt`, `ca.key`, certificates.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// kubectl, as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.assets.kubectl);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", &self.dir)
            .stdin(Stdio::null());
        command
    }

    /// How much memory it uses.
    pub fn memory(&self) -> Memory {
        let of = |process: Option<&Guarded>| process.and_then(Guarded::memory_kib).unwrap_or(0);
        Memory {
            etcd: of(Some(&self.etcd)),
            apiserver: of(self.apiserver.as_ref()),
            controllers: of(self.controllers.as_ref()),
        }
    }

    fn wait_for(&mut self, waited_for: &'static str, args: &[&str]) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            let output = self.kubectl().args(args).output()?;
            if output.status.success() {
                return Ok(());
            }
            let mut processes = [
                Some(&mut self.etcd),
                self.apiserver.as_mut(),
                self.controllers.as_mut(),
            ];
            for process in processes.iter_mut().flatten() {
                process.check().map_err(Error::Ended)?;
            }
            if Instant::now() > until {
                let said = String::from_utf8_lossy(&output.stderr);
                let log = self
                    .apiserver
                    .as_ref()
                    .map(Guarded::tail)
                    .unwrap_or_default();
                let last = format!("{}\n{log}", said.trim());
                return Err(Error::Slow { waited_for, last });
            }
            std::thread::sleep(POLL);
        }
    }

    fn apiserver_flags(&self) -> Vec<String> {
        let file = |name| self.credentials.path(name);
        let ip = self.address.ip;
        let bind = self.config.bind.unwrap_or(ip);
        let (network, prefix) = self.config.service_cidr;
        let advertised = self.config.extra_addresses.first();
        let reconciler = if advertised.is_some() {
            "lease"
        } else {
            "none"
        };
        let mut flags = vec![
            format!("--etcd-servers=http://{ip}:2379"),
            format!("--bind-address={bind}"),
            format!("--secure-port={PORT}"),
            format!("--advertise-address={bind}"),
            format!("--endpoint-reconciler-type={reconciler}"),
            format!("--service-cluster-ip-range={network}/{prefix}"),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("service-account.pub")),
            format!(
                "--service-account-signing-key-file={}",
                file("service-account.key")
            ),
            format!(
                "--kubelet-client-certificate={}",
                file("kubelet-client.crt")
            ),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Webhooks are asked at the addresses of their pods: nothing translates cluster IPs for
            // the processes of this machine.
            "--enable-aggregator-routing=true".to_owned(),
            "--profiling=false".to_owned(),
        ];
        flags.extend(self.config.apiserver_flags.iter().cloned());
        flags
    }

    fn controller_flags(&self) -> Vec<String> {
        let file = |name| self.credentials.path(name);
        vec![
            format!("--kubeconfig={}", file("kubeconfig")),
            format!("--bind-address={}", self.address.ip),
            format!("--cert-dir={}", file("controllers-certs")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!(
                "--service-account-private-key-file={}",
                file("service-account.key")
            ),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            "--profiling=false".to_owned(),
        ]
    }
}

/// The folder that was asked for, or a new one and what removes it.
fn folder(asked: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), Error> {
    if let Some(dir) = asked {
        std::fs::create_dir_all(dir)?;
        return Ok((dir.to_owned(), None));
    }
    let dir = tempfile::Builder::new()
        .prefix("mesh-control-plane-")
        .tempdir()?;
    Ok((dir.path().to_owned(), Some(dir)))
}

/// Replaces a folder by another one, with all that is below it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn start_etcd(assets: &Assets, ip: IpAddr, dir: &Path) -> std::io::Result<Guarded> {
    Guarded::start("etcd", &assets.etcd, &etcd_flags(ip), dir)
}

fn etcd_flags(ip: IpAddr) -> Vec<String> {
    vec![
        "--name=default".to_owned(),
        format!("--data-dir={STORE}"),
        format!("--listen-client-urls=http://{ip}:2379"),
        format!("--advertise-client-urls=http://{ip}:2379"),
        format!("--listen-peer-urls=http://{ip}:2380"),
        format!("--initial-advertise-peer-urls=http://{ip}:2380"),
        format!("--initial-cluster=default=http://{ip}:2380"),
        // What a test stores need not survive the machine.
        "--unsafe-no-fsync=true".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}
