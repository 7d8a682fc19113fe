//! The two servers, for all sequences of a run.

use crate::session::Session;
use crate::webhook::Webhook;
use devcluster::apiserver::{Config, Running, start};
use kind_e2e::control_plane::{self, ControlPlane, Memory};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use mesh_daemon::Trigger;
use std::path::PathBuf;
use std::sync::Mutex;
use tokio::runtime::Runtime;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    Embedded,
    Real,
}

/// A way to ask one of them.
#[derive(Clone)]
pub struct Access {
    pub client: Client,
    pub kubeconfig: PathBuf,
    pub kubectl: PathBuf,
    /// What it can be told to ask.
    pub webhook: Webhook,
}

pub struct Worlds {
    runtime: Runtime,
    embedded: Access,
    real: Access,
    plane: Mutex<Option<ControlPlane>>,
    _running: Running,
    _trigger: Trigger,
    _dir: tempfile::TempDir,
}

impl Worlds {
    pub fn start() -> Result<Self, String> {
        let assets = crate::ASSETS.lock().unwrap().clone();
        let assets = assets.ok_or("there are no binaries")?;
        let runtime = Runtime::new().map_err(|e| e.to_string())?;
        let plane = ControlPlane::start(&assets, control_plane::Config::default());
        let plane = plane.map_err(|e| e.to_string())?;
        let (trigger, shutdown) = mesh_daemon::shutdown();
        let running = runtime
            .block_on(start(Config::default(), shutdown))
            .map_err(|e| e.to_string())?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let kubeconfig = dir.path().join("kubeconfig");
        std::fs::write(&kubeconfig, &running.admin_kubeconfig).map_err(|e| e.to_string())?;
        let access = |kubeconfig: PathBuf| {
            Ok::<_, String>(Access {
                client: runtime.block_on(client(&kubeconfig))?,
                kubeconfig,
                kubectl: assets.kubectl.clone(),
                webhook: runtime.block_on(Webhook::start()),
            })
        };
        Ok(Self {
            embedded: access(kubeconfig)?,
            real: access(plane.kubeconfig())?,
            runtime,
            plane: Mutex::new(Some(plane)),
            _running: running,
            _trigger: trigger,
            _dir: dir,
        })
    }

    /// A session of a sequence with one of them.
    pub fn session(&self, world: World, sequence: &'static str) -> Session {
        let access = match world {
            World::Embedded => &self.embedded,
            World::Real => &self.real,
        };
        Session::new(self.runtime.handle().clone(), access.clone(), sequence)
    }

    pub fn memory(&self) -> Memory {
        let plane = self.plane.lock().unwrap();
        plane.as_ref().map(ControlPlane::memory).unwrap_or_default()
    }

    /// Statics are not dropped.
    pub fn stop(&self) {
        *self.plane.lock().unwrap() = None;
    }
}

async fn client(kubeconfig: &std::path::Path) -> Result<Client, String> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|e| e.to_string())?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}
