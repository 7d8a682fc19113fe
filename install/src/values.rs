//! What an installation can be told, under the names Helm users know.

use anyhow::{Context as _, bail};
use mesh_contract::{images, names};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;

/// `--set` and `--values`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ValuesArgs {
    /// Set a value: KEY=VALUE, where KEY is a dotted path (may be repeated, commas separate)
    #[arg(long = "set", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub set: Vec<String>,

    /// Read values from a YAML file (may be repeated; later files win, --set wins over files)
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Values of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    pub linkerd_version: String,
    pub controller_image: String,
    pub controller_replicas: u32,
    pub controller_log_level: String,
    pub controller_log_format: String,
    pub cluster_domain: String,
    pub cluster_networks: String,
    pub identity_trust_domain: String,
    #[serde(rename = "identityTrustAnchorsPEM")]
    pub identity_trust_anchors_pem: String,
    pub identity: Identity,
    pub proxy: Proxy,
}

/// The issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Identity {
    /// The trust anchors are managed elsewhere: no ConfigMap is printed for them.
    #[serde(rename = "externalCA")]
    pub external_ca: bool,
    pub issuer: Issuer,
}

/// The intermediate certificate leaves are signed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Issuer {
    /// `linkerd.io/tls` (the Secret is printed here) or `kubernetes.io/tls` (made elsewhere).
    pub scheme: String,
    pub issuance_lifetime: String,
    pub clock_skew_allowance: String,
    pub tls: IssuerTls,
}

/// The issuer's PEM; only ever printed into its Secret.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IssuerTls {
    #[serde(rename = "crtPEM")]
    pub crt_pem: String,
    #[serde(rename = "keyPEM")]
    pub key_pem: String,
}

/// Defaults of sidecars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    pub image: String,
    pub log_level: String,
    pub log_format: String,
    pub opaque_ports: String,
    pub default_inbound_policy: String,
}

impl std::fmt::Debug for IssuerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuerTls(redacted)")
    }
}

impl Default for Values {
    fn default() -> Self {
        let settings = mesh_injector::Settings::default();
        Self {
            controller_image: format!("{}:{}", images::MESH, settings.version),
            linkerd_version: settings.version,
            controller_replicas: 1,
            controller_log_level: "info".into(),
            controller_log_format: "plain".into(),
            cluster_domain: names::DEFAULT_CLUSTER_DOMAIN.into(),
            cluster_networks: settings.cluster_networks,
            identity_trust_domain: names::DEFAULT_CLUSTER_DOMAIN.into(),
            identity_trust_anchors_pem: String::new(),
            identity: Identity::default(),
            proxy: Proxy::default(),
        }
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            scheme: "linkerd.io/tls".into(),
            issuance_lifetime: "24h".into(),
            clock_skew_allowance: "20s".into(),
            tls: IssuerTls::default(),
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        let settings = mesh_injector::Settings::default();
        Self {
            image: settings.proxy_image,
            log_level: settings.proxy_log_level,
            log_format: settings.proxy_log_format,
            opaque_ports: settings.opaque_ports,
            default_inbound_policy: settings.default_inbound_policy,
        }
    }
}

impl Values {
    /// The defaults with files and settings laid over them. Unknown keys are reported on standard
    /// error and ignored, so that a Helm user's values file still installs.
    pub fn load(args: &ValuesArgs) -> anyhow::Result<Self> {
        let mut merged = serde_json::to_value(Self::default())?;
        let known = merged.clone();
        for file in &args.files {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the values file {}", file.display()))?;
            let value: Value = serde_saphyr::from_str(&text)
                .with_context(|| format!("the values file {} is not YAML", file.display()))?;
            merge(&mut merged, value);
        }
        for setting in &args.set {
            merge(&mut merged, parse_setting(setting)?);
        }
        for key in unknown_keys(&known, &merged, "") {
            eprintln!("mesh install: warning: the value {key} is not known here and is ignored");
        }
        serde_json::from_value(merged).context("a value has the wrong type")
    }

    /// What sidecars are injected with.
    pub fn settings(&self, control_plane_ns: &str) -> mesh_injector::Settings {
        mesh_injector::Settings {
            control_plane_ns: control_plane_ns.to_owned(),
            trust_domain: self.identity_trust_domain.clone(),
            cluster_domain: self.cluster_domain.clone(),
            trust_anchors_sha256: sha256(&self.identity_trust_anchors_pem),
            trust_anchors: self.identity_trust_anchors_pem.clone(),
            version: self.linkerd_version.clone(),
            proxy_image: self.proxy.image.clone(),
            proxy_log_level: self.proxy.log_level.clone(),
            proxy_log_format: self.proxy.log_format.clone(),
            cluster_networks: self.cluster_networks.clone(),
            opaque_ports: self.proxy.opaque_ports.clone(),
            default_inbound_policy: self.proxy.default_inbound_policy.clone(),
        }
    }

    /// The same values without the issuer's key and certificate, for `linkerd-config`.
    pub fn public(&self) -> Self {
        let mut public = self.clone();
        public.identity.issuer.tls = IssuerTls::default();
        public
    }
}

/// SHA-256 in hex.
pub fn sha256(text: &str) -> String {
    use rustls::crypto::hash::HashAlgorithm;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .iter()
        .filter_map(|suite| suite.tls13())
        .map(|suite| suite.common.hash_provider)
        .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
        .map(|hash| {
            let digest = hash.hash(text.as_bytes());
            digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
        })
        .unwrap_or_default()
}

fn parse_setting(setting: &str) -> anyhow::Result<Value> {
    let Some((path, text)) = setting.split_once('=') else {
        bail!("--set {setting}: expected KEY=VALUE");
    };
    let leaf = match text {
        "true" => json!(true),
        "false" => json!(false),
        _ => match text.parse::<i64>() {
            Ok(number) => json!(number),
            Err(_) => json!(text),
        },
    };
    Ok(path
        .rsplit('.')
        .fold(leaf, |value, key| json!({ key: value })))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::String(into), Value::Number(number)) => *into = number.to_string(),
        (into, from) => *into = from,
    }
}

fn unknown_keys(known: &Value, given: &Value, prefix: &str) -> Vec<String> {
    let (Some(known), Some(given)) = (known.as_object(), given.as_object()) else {
        return Vec::new();
    };
    given
        .iter()
        .flat_map(|(key, value)| {
            let path = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            match known.get(key) {
                Some(known) => unknown_keys(known, value, &path),
                None => vec![path],
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_win_over_the_defaults_and_keep_their_types() {
        let args = ValuesArgs {
            set: vec![
                "controllerReplicas=3".into(),
                "identity.issuer.scheme=kubernetes.io/tls".into(),
                "identity.externalCA=true".into(),
            ],
            files: Vec::new(),
        };
        let values = Values::load(&args).unwrap();
        assert_eq!(values.controller_replicas, 3);
        assert_eq!(values.identity.issuer.scheme, "kubernetes.io/tls");
        assert!(values.identity.external_ca);
        assert_eq!(values.cluster_domain, "cluster.local");
    }

    #[test]
    fn unknown_keys_are_found_wherever_they_are() {
        let known = json!({"a": {"b": 1}});
        let given = json!({"a": {"b": 1, "c": 2}, "d": {}});
        assert_eq!(unknown_keys(&known, &given, ""), ["a.c", "d"]);
    }

    #[test]
    fn a_setting_without_a_value_is_refused() {
        assert!(parse_setting("controllerReplicas").is_err());
    }

    #[test]
    fn what_is_published_has_no_key() {
        let mut values = Values::default();
        values.identity.issuer.tls.key_pem = "secret".into();
        assert_eq!(values.public().identity.issuer.tls, IssuerTls::default());
        assert!(!format!("{values:?}").contains("secret"));
    }

    #[test]
    fn a_digest_is_sha256_in_hex() {
        assert_eq!(
            sha256(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
