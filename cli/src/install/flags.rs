//! Flags of their own for the values that are set most, as Linkerd's command has them.

use mesh_install::values::put;
use serde_json::{Value, json};

/// Shorthands for `--set`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ShorthandArgs {
    /// Pods of each component of the control plane
    #[arg(long, value_name = "COUNT")]
    controller_replicas: Option<u32>,

    /// Log filter of the control plane
    #[arg(long, value_name = "FILTER")]
    controller_log_level: Option<String>,

    /// Traffic is redirected by a CNI plugin, so pods get no init container
    #[arg(long)]
    linkerd_cni_enabled: bool,

    /// Registry (and path) of all images, in place of mesh.io
    #[arg(long, value_name = "REGISTRY")]
    registry: Option<String>,

    /// When images are pulled: Always, IfNotPresent or Never
    #[arg(long, value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,

    /// Policy for ports without a Server
    #[arg(long, value_name = "POLICY")]
    default_inbound_policy: Option<String>,

    /// CPU a sidecar is promised
    #[arg(long, value_name = "QUANTITY")]
    proxy_cpu_request: Option<String>,

    /// CPU a sidecar may use at most
    #[arg(long, value_name = "QUANTITY")]
    proxy_cpu_limit: Option<String>,

    /// Memory a sidecar is promised
    #[arg(long, value_name = "QUANTITY")]
    proxy_memory_request: Option<String>,

    /// Memory a sidecar may use at most
    #[arg(long, value_name = "QUANTITY")]
    proxy_memory_limit: Option<String>,

    /// Log filter of sidecars
    #[arg(long, value_name = "FILTER")]
    proxy_log_level: Option<String>,

    /// Inbound ports that do not go through sidecars
    #[arg(long, value_name = "PORTS")]
    skip_inbound_ports: Option<String>,

    /// Outbound ports that do not go through sidecars
    #[arg(long, value_name = "PORTS")]
    skip_outbound_ports: Option<String>,
}

impl ShorthandArgs {
    /// What the flags set, as values.
    pub(crate) fn values(&self) -> Value {
        let mut values = json!({});
        let mut set = |path: &str, value: &Option<String>| {
            if let Some(value) = value {
                put(&mut values, path, json!(value));
            }
        };
        set("controllerLogLevel", &self.controller_log_level);
        set("imagePullPolicy", &self.image_pull_policy);
        set("proxy.image.pullPolicy", &self.image_pull_policy);
        set("proxy.defaultInboundPolicy", &self.default_inbound_policy);
        set("proxy.resources.cpu.request", &self.proxy_cpu_request);
        set("proxy.resources.cpu.limit", &self.proxy_cpu_limit);
        set("proxy.resources.memory.request", &self.proxy_memory_request);
        set("proxy.resources.memory.limit", &self.proxy_memory_limit);
        set("proxy.logLevel", &self.proxy_log_level);
        set("proxyInit.ignoreInboundPorts", &self.skip_inbound_ports);
        set("proxyInit.ignoreOutboundPorts", &self.skip_outbound_ports);
        let image = |name: &str| {
            let registry = self.registry.as_ref()?;
            let name = name.rsplit('/').next()?;
            Some(format!("{}/{name}", registry.trim_end_matches('/')))
        };
        set("controllerImage", &image(mesh_contract::images::MESH));
        set("proxyInit.image.name", &image(mesh_contract::images::MESH));
        set("proxy.image.name", &image(mesh_contract::images::PROXY));
        if let Some(count) = self.controller_replicas {
            put(&mut values, "controllerReplicas", json!(count));
        }
        if self.linkerd_cni_enabled {
            put(&mut values, "cniEnabled", json!(true));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use mesh_install::values::{Loaded, ValuesArgs, load};

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        args: ShorthandArgs,
    }

    #[test]
    fn every_shorthand_sets_a_value_there_is() {
        let flags = Flags::parse_from([
            "mesh",
            "--controller-replicas=2",
            "--controller-log-level=debug",
            "--linkerd-cni-enabled",
            "--registry=registry.example.com/team/",
            "--image-pull-policy=Always",
            "--default-inbound-policy=deny",
            "--proxy-cpu-request=1",
            "--proxy-cpu-limit=2",
            "--proxy-memory-request=3Mi",
            "--proxy-memory-limit=4Mi",
            "--proxy-log-level=info",
            "--skip-inbound-ports=1",
            "--skip-outbound-ports=2",
        ]);
        let loaded: Loaded = load(&ValuesArgs::default(), json!({}), flags.args.values()).unwrap();
        assert_eq!(loaded.unknown, Vec::<String>::new());
        let values = loaded.values;
        assert_eq!(values.controller_replicas, 2);
        assert!(values.cni_enabled);
        assert_eq!(values.controller_image, "registry.example.com/team/mesh");
        assert_eq!(values.proxy.image.name, "registry.example.com/team/proxy");
        assert_eq!(values.proxy.resources.memory.limit, "4Mi");
        assert_eq!(values.proxy_init.ignore_outbound_ports, "2");
    }
}
