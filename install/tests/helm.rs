//! The charts say what `mesh install` says: `helm template` on the committed charts, compared with
//! the manifests of the same values, document by document.
//!
//! Where there is no Helm and no Go to build it with, the claims are reported as ignored;
//! `MESH_HELM=require` turns that into a failure.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on says so

use libtest_mimic::{Arguments, Failed, Trial};
use mesh_install::{
    multicluster,
    values::{Loaded, ValuesArgs, load},
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let helm = kind_e2e::assets::helm().map_err(|error| error.to_string());
    let required = std::env::var_os("MESH_HELM").is_some_and(|it| it == "require");
    if let Err(reason) = &helm {
        eprintln!("Helm's claims are not checked: {reason}");
    }
    let mut trials = Vec::new();
    for (name, settings) in CASES {
        let (helm, settings) = (helm.clone(), settings.to_vec());
        trials.push(trial(name, required, helm, move |helm| {
            control_plane(helm, &settings)
        }));
    }
    for (name, values) in [
        ("the_extension_is_the_same", json!({})),
        (
            "an_extension_without_a_gateway_is_the_same",
            json!({"gateway": {"enabled": false}, "remoteMirrorServiceAccount": false}),
        ),
        (
            "an_extension_for_flat_networks_is_the_same",
            json!({"remoteDiscovery": true, "enableHeadlessServices": true}),
        ),
        (
            "an_extension_for_many_nodes_is_the_same",
            json!({"enablePodAntiAffinity": true, "controllerReplicas": 3, "gateway": {
                "replicas": 3, "loadBalancerIP": "192.0.2.1", "healthcheckNodePort": 30000,
                "serviceAnnotations": {"cloud.example.com/kind": "internal"}}}),
        ),
    ] {
        let helm = helm.clone();
        trials.push(trial(name, required, helm, move |helm| {
            extension(helm, &values)
        }));
    }
    let crds = helm.clone();
    trials.push(trial(
        "the_definitions_are_the_same",
        required,
        crds,
        crds_same,
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Settings beside the trust root, as one would give them to both.
const CASES: &[(&str, &[&str])] = &[
    ("the_control_plane_is_the_same", &[]),
    ("a_control_plane_for_many_nodes_is_the_same", &["--ha"]),
    (
        "placement_and_labels_are_the_same",
        &[
            r"nodeSelector.disk=ssd",
            "tolerations[0].key=mesh,tolerations[0].operator=Exists",
            "podAnnotations.a=b,podLabels.c=d",
            "imagePullSecrets[0].name=pull",
            "priorityClassName=system-cluster-critical",
            "proxyInjectorResources.ephemeral-storage.limit=1Gi",
        ],
    ),
    (
        "trust_kept_elsewhere_is_the_same",
        &[
            "identity.externalCA=true",
            "identity.issuer.scheme=kubernetes.io/tls",
            "proxyInjector.externalSecret=true",
            "proxyInjector.injectCaFrom=linkerd/webhook",
        ],
    ),
    (
        "webhooks_as_told_are_the_same",
        &[
            "proxyInjector.caBundle=PEM",
            "proxyInjector.timeoutSeconds=5",
            "proxyInjector.namespaceSelector.matchExpressions[0].key=mesh",
            "proxyInjector.namespaceSelector.matchExpressions[0].operator=Exists",
            "cniEnabled=true",
        ],
    ),
    (
        "no_webhooks_are_the_same",
        &["proxyInjector.enabled=false", "proxy.opaquePorts=25"],
    ),
];

type Helm = Result<PathBuf, String>;

fn trial(
    name: &str,
    required: bool,
    helm: Helm,
    run: impl FnOnce(&Path) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let ignored = helm.is_err() && !required;
    let run = move || run(&helm.map_err(Failed::from)?);
    Trial::test(name, run).with_ignored_flag(ignored)
}

fn chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../charts")
        .join(name)
}

fn template(
    helm: &Path,
    chart_name: &str,
    namespace: &str,
    args: &[String],
) -> Result<Vec<Value>, Failed> {
    let output = Command::new(helm)
        .args(["template", "release", "--kube-version", "1.33.0"])
        .args(["--namespace", namespace])
        .args(args)
        .arg(chart(chart_name))
        .output()
        .map_err(|error| format!("{}: {error}", helm.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().filter(|it| !it.is_null()).collect())
}

fn control_plane(helm: &Path, settings: &[&str]) -> Result<(), Failed> {
    let mut args = ValuesArgs::default();
    let mut helm_args = Vec::new();
    let root = [
        "identityTrustAnchorsPEM=ANCHORS",
        "identity.issuer.tls.crtPEM=CRT",
        "identity.issuer.tls.keyPEM=KEY",
    ];
    for setting in settings.iter().chain(&root) {
        if *setting == "--ha" {
            args.ha = true;
            let file = chart("mesh-control-plane").join("values-ha.yaml");
            helm_args.extend(["--values".to_owned(), file.display().to_string()]);
        } else {
            args.set.push((*setting).to_owned());
            helm_args.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
    }
    let loaded: Loaded = load(&args, json!({}), json!({})).map_err(|error| format!("{error:#}"))?;
    let ours = mesh_install::manifests(&loaded.values, "mesh-system");
    let ours = ours.map_err(|error| format!("{error:#}"))?;
    let ours = ours
        .into_iter()
        .filter(|it| it["kind"] != "CustomResourceDefinition");
    let theirs = template(helm, "mesh-control-plane", "mesh-system", &helm_args)?;
    same(ours.collect(), theirs)
}

fn extension(helm: &Path, values: &Value) -> Result<(), Failed> {
    let mut all = serde_json::to_value(multicluster::Values::default()).unwrap();
    mesh_install::values::merge(&mut all, values.clone());
    mesh_install::values::merge(&mut all, json!({"identityTrustAnchorsPEM": "ANCHORS"}));
    let typed: multicluster::Values = serde_json::from_value(all.clone()).unwrap();
    let ours = multicluster::chart_manifests(&typed, "mc").map_err(|error| format!("{error:#}"))?;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), all.to_string()).unwrap();
    let args = ["--values".to_owned(), file.path().display().to_string()];
    same(ours, template(helm, "mesh-multicluster", "mc", &args)?)
}

fn crds_same(helm: &Path) -> Result<(), Failed> {
    let theirs = template(helm, "mesh-crds", "linkerd", &[])?;
    let theirs: Vec<_> = theirs
        .into_iter()
        .filter(|it| it["spec"]["group"] != "multicluster.linkerd.io")
        .collect();
    let ours = mesh_install::crds("linkerd").map_err(|error| format!("{error:#}"))?;
    same(ours, theirs)
}

/// The same documents, however they are spelled.
fn same(ours: Vec<Value>, theirs: Vec<Value>) -> Result<(), Failed> {
    let (ours, theirs) = (keyed(ours), keyed(theirs));
    let names = |documents: &BTreeMap<String, Value>| documents.keys().cloned().collect::<Vec<_>>();
    if names(&ours) != names(&theirs) {
        let (ours, theirs) = (names(&ours), names(&theirs));
        return Err(format!("mesh prints {ours:#?}\nHelm prints {theirs:#?}").into());
    }
    for (name, ours) in &ours {
        let theirs = &theirs[name];
        if ours != theirs {
            return Err(format!("{name}\nmesh: {ours:#}\nHelm: {theirs:#}").into());
        }
    }
    Ok(())
}

/// By kind, namespace and name; without what only one of the two makes, and without emptiness.
fn keyed(documents: Vec<Value>) -> BTreeMap<String, Value> {
    documents
        .into_iter()
        .filter(|document| document["kind"] != "Namespace")
        .map(|mut document| {
            let metadata = &document["metadata"];
            let key = format!(
                "{} {} {}",
                document["kind"], metadata["namespace"], metadata["name"]
            );
            let values = document.pointer_mut("/data/values");
            if let Some(text) = values.filter(|text| text.is_string()) {
                // YAML in YAML.
                let values = mesh_install::values::read(text.as_str().unwrap()).unwrap();
                *text = serde_json::to_value(values).unwrap();
            }
            (key, normal(document))
        })
        .collect()
}

fn normal(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (key, value) in fields {
                let value = normal(value);
                let empty = value.is_null() || value == json!({}) || value == json!([]);
                // Who printed it differs.
                if !empty && key != "linkerd.io/created-by" {
                    out.insert(key, value);
                }
            }
            out.into()
        }
        Value::Array(items) => items.into_iter().map(normal).collect(),
        other => other,
    }
}
