//! From a container's spec to a command line that can be run: image, volumes, variables, words.
//! Called by the worker each time a container starts.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, ServiceAccount, Volume};
use kube::Api;
use mesh_contract::env::DEVCLUSTER_RUN;

use super::agent::Agent;
use super::container::{self, ACCOUNT_DIR, Parts};
use super::disk::{PodDir, create_dir, write_atomic};
use super::downward::{Facts, service_account};
use super::environment::{self, EnvironmentError, Mounts, Variables};
use super::images::Unknown;
use super::network::Network;
use super::network::netns::{API_NAME, API_PORT, Netns, ToolError};
use super::plan;
use super::process::{self, Launch, NODE_MARKER};
use super::room::Room;
use super::sources::{Names, Sources};
use super::volumes::{self, FileData, Readers, Tokens, VolumeError};

/// A name for CLUSTER_NAME, which the demo applications read; a container's own wins.
const CLUSTER_NAME: &str = "CLUSTER_NAME";
/// The API server's tokens of pods live as long as the kubelet's.
const API_TOKEN_S: i64 = 3607;

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Image(#[from] Unknown),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("cannot read what the container refers to: {0}")]
    Api(#[from] kube::Error),
    #[error("cannot prepare the container's folder: {0}")]
    Io(#[from] io::Error),
    #[error("cannot make the pod's network: {0}")]
    Network(#[from] ToolError),
    #[error(transparent)]
    Probe(#[from] super::probe::ProbeError),
    #[error(transparent)]
    Privileges(#[from] super::privileges::PrivilegeError),
}

/// The pod a container belongs to, and where it lives.
pub(super) struct Place<'a> {
    pub(super) agent: &'a Agent,
    pub(super) pod: &'a Pod,
    pub(super) ip: Ipv4Addr,
    pub(super) dir: &'a PodDir,
}

impl Place<'_> {
    fn facts(&self) -> Facts<'_> {
        Facts {
            pod: self.pod,
            ip: self.ip,
            node_ip: self.agent.node_ip,
            node_name: &self.agent.node_name,
        }
    }

    fn volumes(&self) -> &[Volume] {
        let volumes = self.pod.spec.as_ref().and_then(|s| s.volumes.as_deref());
        volumes.unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }

    /// Brings every volume of the pod, and its way to the API server, up to date.
    pub(super) async fn write_volumes(&self, tokens: &mut Tokens) -> Result<(), StartError> {
        let volumes = self.volumes();
        let mut names = Names::default();
        volumes.iter().for_each(|v| names.of_volume(v));
        let sources = Sources::fetch(&self.agent.client, self.namespace(), names).await?;
        tokens.refresh(&self.agent.client, self.pod).await?;
        for volume in volumes {
            let files = volumes::contents(volume, self.facts(), &sources, tokens)?;
            let folder = self.dir.volumes().join(&volume.name);
            self.memory(volume, &folder)
                .and_then(|()| volumes::write(&folder, &files, self.readers()))
                .map_err(|source| VolumeError::Io {
                    volume: volume.name.clone(),
                    source,
                })?;
        }
        self.write_api_access(tokens).await
    }

    /// Leads a volume's folder into memory, if it is to be there and can be.
    fn memory(&self, volume: &Volume, folder: &Path) -> io::Result<()> {
        match (volumes::in_memory(volume), &self.agent.network) {
            (Some(limit), Network::Netns(netns)) => {
                let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
                volumes::link(folder, &netns.memory(uid, &volume.name, limit)?)
            }
            _ => Ok(()),
        }
    }

    async fn write_api_access(&self, tokens: &mut Tokens) -> Result<(), StartError> {
        if !self.wants_api_access().await? {
            return Ok(());
        }
        let client = &self.agent.client;
        let token = tokens
            .ensure(client, self.pod, String::new(), API_TOKEN_S)
            .await?;
        let (cluster, namespace) = (&self.agent.cluster_name, self.namespace());
        let seen_at = self.kube_seen_at();
        let config = self.agent.access.kubeconfig(cluster, namespace, &seen_at);
        let file = |bytes: Vec<u8>| FileData { bytes, exec: false };
        let files = BTreeMap::from([
            ("token".into(), file(token.into_bytes())),
            ("config".into(), file(config.to_string().into_bytes())),
            ("namespace".into(), file(namespace.as_bytes().to_vec())),
            ("ca.crt".into(), file(self.agent.access.ca_pem().to_vec())),
        ]);
        Ok(volumes::write(
            &self.dir.kube(),
            &Some(files),
            self.readers(),
        )?)
    }

    /// Where the pod's processes see the folder with the kubeconfig.
    fn kube_seen_at(&self) -> PathBuf {
        match &self.agent.network {
            Network::Loopback(_) => self.dir.kube(),
            Network::Netns(_) => ACCOUNT_DIR.into(),
        }
    }

    /// Where the pod's processes see the program their image's own one becomes.
    fn seen_at(&self, program: &Path) -> PathBuf {
        match &self.agent.network {
            Network::Loopback(_) => program.to_owned(),
            Network::Netns(_) => container::becomes_path(program),
        }
    }

    fn readers(&self) -> Readers {
        match &self.agent.network {
            Network::Loopback(_) => Readers::Owner,
            Network::Netns(_) => Readers::Pod,
        }
    }

    /// `automountServiceAccountToken`: the pod's word, or else its account's.
    async fn wants_api_access(&self) -> Result<bool, StartError> {
        if plan::containers(self.pod).all(|(_, c)| self.brings_account(c)) {
            return Ok(false);
        }
        if let Some(own) = volumes::api_access(self.pod) {
            return Ok(own);
        }
        let accounts: Api<ServiceAccount> =
            Api::namespaced(self.agent.client.clone(), self.namespace());
        let account = accounts.get_opt(service_account(self.pod)).await?;
        Ok(account
            .and_then(|a| a.automount_service_account_token)
            .unwrap_or(true))
    }

    /// A volume of the pod's own is where the account's token would be: kube-apiserver gives every
    /// pod one.
    fn brings_account(&self, container: &Container) -> bool {
        let mut mounts = container.volume_mounts.iter().flatten();
        matches!(self.agent.network, Network::Netns(_))
            && mounts.any(|m| Path::new(&m.mount_path) == Path::new(ACCOUNT_DIR))
    }

    /// The command line of a container's next run.
    pub(super) async fn launch(
        &self,
        container: &Container,
        attempt: u32,
    ) -> Result<Launch, StartError> {
        let image = container.image.as_deref().unwrap_or_default();
        let program = self.agent.images.find(image)?;
        let mounts = self.mounts(container)?;
        let mut names = Names::default();
        names.of_container(container);
        let sources = Sources::fetch(&self.agent.client, self.namespace(), names).await?;
        let work = self.dir.work(&container.name)?;
        create_dir(&work)?;
        let (home, rewrites) = match &self.agent.network {
            Network::Loopback(_) => (work, mounts.clone()),
            Network::Netns(_) => (PathBuf::from("/"), Mounts::default()),
        };
        let base = self.base(container, &home.display().to_string());
        let mut vars = environment::variables(container, self.facts(), &sources, &rewrites, base)?;
        let command = environment::words(container.command.as_ref(), &vars, &rewrites);
        let args = environment::words(container.args.as_ref(), &vars, &rewrites);
        vars.extend(self.ours());
        let called = command.first().cloned();
        let mut becomes = None;
        let (path, args) = match command.split_first() {
            None => {
                becomes = program.becomes.as_deref();
                let seen_at = becomes.map(|path| self.seen_at(path).display().to_string());
                let leading = program.leading.iter().cloned().chain(seen_at);
                (program.path.clone(), leading.chain(args).collect())
            }
            Some((first, rest)) => (
                self.agent.images.command(first),
                [rest.to_vec(), args].concat(),
            ),
        };
        let path = process::which(&path, vars.get("PATH").map_or("", String::as_str));
        let asked = container.working_dir.as_deref();
        let asked = asked.map(|dir| PathBuf::from(rewrites.rewrite(dir)));
        let (room, program, cwd) = match &self.agent.network {
            Network::Loopback(_) => (Room::Machine, path, asked.filter(|dir| dir.is_dir())),
            Network::Netns(netns) => {
                let room = self.room(netns, container, &mounts, (&path, becomes))?;
                (room, container::image_path(&path), asked)
            }
        };
        Ok(Launch {
            program,
            called,
            args,
            env: vars.into_iter().collect(),
            cwd: cwd.unwrap_or(home),
            log: Some(self.dir.log(&container.name, attempt)?),
            room,
        })
    }

    /// A container of its own.
    fn room(
        &self,
        netns: &Netns,
        spec: &Container,
        mounts: &Mounts,
        (program, becomes): (&Path, Option<&Path>),
    ) -> Result<Room, StartError> {
        let name = self.pod.metadata.name.as_deref().unwrap_or_default();
        let hosts = format!(
            "127.0.0.1 localhost\n::1 localhost\n{} {name}\n{} {API_NAME}\n",
            self.ip, self.agent.node_ip
        );
        let resolv = netns.resolv_conf(self.namespace());
        write_atomic(&self.dir.hosts(), hosts.as_bytes(), 0o644)?;
        write_atomic(&self.dir.resolv_conf(), resolv.as_bytes(), 0o644)?;
        for (_, source) in mounts.iter().filter(|(_, source)| !source.exists()) {
            // A part of a volume that nobody has made yet.
            create_dir(source)?;
        }
        let mesh = self.agent.images.mesh();
        let programs = if program == mesh {
            vec![mesh]
        } else {
            vec![mesh, program]
        };
        let container = container::container(&Parts {
            pod: self.pod,
            spec,
            dir: self.dir,
            mounts,
            network: netns.namespace(self.ip),
            programs: &programs,
            becomes,
            has_account: self.dir.kube().join("config").exists(),
        })?;
        Ok(Room::New(Box::new(container)))
    }

    fn mounts(&self, container: &Container) -> Result<Mounts, EnvironmentError> {
        let names: Vec<&str> = self.volumes().iter().map(|v| v.name.as_str()).collect();
        Mounts::new(container, &names, &self.dir.volumes())
    }

    /// What an image would have set; a container may override it.
    fn base(&self, container: &Container, home: &str) -> Variables {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let mut base = Variables::from([
            ("PATH".to_owned(), path),
            ("HOME".to_owned(), home.to_owned()),
            (
                "HOSTNAME".to_owned(),
                self.pod.metadata.name.clone().unwrap_or_default(),
            ),
            (CLUSTER_NAME.to_owned(), self.agent.cluster_name.clone()),
        ]);
        if self.dir.kube().join("config").exists() && !self.brings_account(container) {
            let config = self.kube_seen_at().join("config");
            base.insert("KUBECONFIG".to_owned(), config.display().to_string());
        }
        if matches!(self.agent.network, Network::Netns(_)) {
            base.insert("KUBERNETES_SERVICE_HOST".to_owned(), API_NAME.to_owned());
            base.insert("KUBERNETES_SERVICE_PORT".to_owned(), API_PORT.to_string());
        }
        base
    }

    /// The rules of the network, and the marks by which processes are found; nothing overrides
    /// them.
    fn ours(&self) -> Vec<(String, String)> {
        let mut ours = self.agent.network.variables(self.ip);
        ours.push((DEVCLUSTER_RUN.to_owned(), self.agent.run_id.clone()));
        ours.push((NODE_MARKER.to_owned(), self.agent.marker()));
        ours
    }
}
