//! The decision as tables.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn settings() -> Settings {
    Settings::new("linkerd", SidecarValues::default(), "PEM")
}

fn template(annotations: Value, spec: Value) -> Value {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{
            "name": "app", "image": "app",
            "ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}],
        }]);
    }
    json!({ "metadata": { "annotations": annotations }, "spec": spec })
}

fn injected(template: &Value) -> Value {
    match decided(template, true).unwrap() {
        Decision::Inject(patch) => {
            let mut out = template.clone();
            json_patch::patch(&mut out, &patch).unwrap();
            out
        }
        Decision::Skip(reason) => panic!("skipped: {reason}"),
    }
}

fn decided(template: &Value, requested: bool) -> Result<Decision, InjectError> {
    decide(
        &settings(),
        &Pod {
            template,
            namespace: Some("shop"),
            namespace_annotations: &BTreeMap::new(),
            owner: Some(Owner {
                kind: "Deployment",
                name: "web",
            }),
            requested,
        },
    )
}

fn env(pod: &Value, name: &str) -> Option<String> {
    pod["spec"]["containers"][0]["env"]
        .as_array()?
        .iter()
        .find(|e| e["name"] == format!("LINKERD2_PROXY_{name}"))?["value"]
        .as_str()
        .map(str::to_owned)
}

#[test]
fn the_sidecar_comes_first_and_knows_its_control_plane() {
    let pod = injected(&template(json!({}), json!({})));
    assert_eq!(pod["spec"]["containers"][0]["name"], "linkerd-proxy");
    assert_eq!(pod["spec"]["containers"][1]["name"], "app");
    assert_eq!(
        env(&pod, "IDENTITY_SVC_ADDR").unwrap(),
        "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"
    );
    assert_eq!(
        env(&pod, "POLICY_SVC_NAME").unwrap(),
        "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
    );
    assert_eq!(
        env(&pod, "INBOUND_PORTS").unwrap(),
        "8080",
        "UDP is not proxied"
    );
    assert_eq!(env(&pod, "INBOUND_GATEWAY_SUFFIXES"), None);
    assert_eq!(
        pod["metadata"]["labels"]["linkerd.io/control-plane-ns"],
        "linkerd"
    );
    assert_eq!(
        pod["metadata"]["labels"]["linkerd.io/proxy-deployment"],
        "web"
    );
    assert_eq!(
        pod["spec"]["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]["audience"],
        "identity.l5d.io"
    );
}

#[test]
fn a_stock_sidecar_finds_all_it_demands() {
    let pod = injected(&template(json!({}), json!({})));
    let svc = |kind: &str| ["ADDR", "NAME"].map(|what| format!("{kind}_SVC_{what}"));
    let own = [
        "IDENTITY_DIR",
        "IDENTITY_LOCAL_NAME",
        "IDENTITY_TOKEN_FILE",
        "IDENTITY_TRUST_ANCHORS",
        "POLICY_WORKLOAD",
        // Without these it does less than it could: refuses cluster policies, never looks whether
        // a client is still there.
        "POLICY_CLUSTER_NETWORKS",
        "DESTINATION_PROFILE_NETWORKS",
        "INBOUND_IPS",
        "INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL",
        "OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT",
    ];
    let services = ["IDENTITY", "DESTINATION", "POLICY"].map(svc).concat();
    for name in own.map(str::to_owned).iter().chain(&services) {
        assert!(env(&pod, name).is_some(), "{name}");
    }
    // Its image's start program writes there.
    let dir = env(&pod, "IDENTITY_DIR").unwrap();
    let sidecar = &pod["spec"]["containers"][0];
    let mounts = sidecar["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["mountPath"] == *dir);
    assert_eq!(mount.unwrap()["readOnly"], Value::Null);
}

#[test]
fn pods_that_must_not_have_a_sidecar_are_left_alone() {
    let proxy = json!({"containers": [{"name": "linkerd-proxy", "image": "x"}]});
    for (annotations, spec, requested, reason) in [
        (
            json!({"linkerd.io/inject": "disabled"}),
            json!({}),
            true,
            SkipReason::Disabled,
        ),
        (json!({}), json!({}), false, SkipReason::NotRequested),
        (
            json!({}),
            json!({"hostNetwork": true}),
            true,
            SkipReason::HostNetwork,
        ),
        (json!({}), proxy, true, SkipReason::AlreadyInjected),
        (
            json!({}),
            json!({"automountServiceAccountToken": false}),
            true,
            SkipReason::NoServiceAccountToken,
        ),
    ] {
        assert_eq!(
            decided(&template(annotations, spec), requested),
            Ok(Decision::Skip(reason))
        );
    }
}

#[test]
fn annotations_reach_the_sidecar() {
    let pod = injected(&template(
        json!({
            "config.linkerd.io/proxy-log-level": "debug",
            "config.linkerd.io/proxy-cpu-limit": "1",
            "config.linkerd.io/proxy-memory-request": "20Mi",
            "config.linkerd.io/opaque-ports": "25,8000-8010",
            "config.linkerd.io/enable-gateway": "true",
            "config.linkerd.io/default-inbound-policy": "all-authenticated",
            "config.linkerd.io/proxy-version": "9.9.9",
        }),
        json!({}),
    ));
    assert_eq!(env(&pod, "LOG").unwrap(), "debug");
    assert_eq!(
        env(&pod, "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION").unwrap(),
        "25,8000-8010"
    );
    assert_eq!(
        env(&pod, "INBOUND_GATEWAY_SUFFIXES").unwrap(),
        "svc.cluster.local."
    );
    assert_eq!(
        env(&pod, "INBOUND_DEFAULT_POLICY").unwrap(),
        "all-authenticated"
    );
    let sidecar = &pod["spec"]["containers"][0];
    assert_eq!(sidecar["resources"]["limits"]["cpu"], "1");
    assert_eq!(sidecar["resources"]["requests"]["memory"], "20Mi");
    assert_eq!(sidecar["image"], "mesh.io/proxy:9.9.9");
}

#[test]
fn a_value_the_sidecar_would_refuse_is_refused_with_its_key() {
    for (key, value) in [
        ("opaque-ports", "0"),
        ("opaque-ports", "20-10"),
        ("opaque-ports", "http"),
        ("proxy-outbound-connect-timeout", "10"),
        ("proxy-outbound-connect-timeout", "ten seconds"),
        ("default-inbound-policy", "allow"),
        ("proxy-wait-before-exit-seconds", "1.5"),
        ("proxy-log-format", "xml"),
        ("proxy-memory-limit", "lots"),
        ("proxy-uid", "0"),
        ("skip-subnets", "10.0.0.0/33"),
        ("skip-outbound-ports", "mysql"),
        ("inbound-port", "70000"),
        ("proxy-await", "maybe"),
        ("image-pull-policy", "Sometimes"),
    ] {
        let key = format!("config.linkerd.io/{key}");
        let error = decided(&template(json!({ &key: value }), json!({})), true).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&key) && message.contains("expected"),
            "{message}"
        );
    }
}

#[test]
fn a_stream_of_manifests_keeps_its_order_and_what_is_no_workload() {
    let input = "
apiVersion: v1
kind: Service
metadata: {name: web}
---
---
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop}
  spec: {template: {spec: {containers: [{name: app, image: app}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: app, image: app}]}
";
    let documents = manifest::parse(input).unwrap();
    let out = manifest::inject(&settings(), documents.clone()).unwrap();
    assert_eq!(out.documents[0], documents[0]);
    assert_eq!(
        out.documents[1]["items"][0]["spec"]["template"]["spec"]["containers"][0]["name"],
        "linkerd-proxy"
    );
    assert_eq!(out.documents[2], documents[2]);
    let outcomes: Vec<_> = out
        .outcomes
        .iter()
        .map(|o| (o.object.as_str(), o.skipped))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("deployment/web", None),
            ("pod/host", Some(SkipReason::HostNetwork))
        ]
    );
    let rendered = manifest::render(&out.documents).unwrap();
    assert_eq!(manifest::parse(&rendered).unwrap(), out.documents);
}

#[test]
fn input_that_is_no_manifest_is_named() {
    assert!(manifest::parse("a: [").is_err());
    let no_template = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {}});
    let error = manifest::inject(&settings(), vec![no_template])
        .unwrap_err()
        .to_string();
    assert!(error.contains("deployment/web"), "{error}");
}

fn sidecar_of(annotations: Value) -> Value {
    injected(&template(annotations, json!({})))["spec"]["containers"][0].clone()
}

#[test]
fn the_pods_traffic_is_redirected_by_an_init_container_that_comes_last() {
    let own = json!({"initContainers": [{"name": "migrate", "image": "m"}]});
    let annotations = json!({
        "config.linkerd.io/skip-inbound-ports": "4222,5432",
        "config.linkerd.io/skip-outbound-ports": "3306,6379",
        "config.linkerd.io/skip-subnets": "10.9.0.0/16",
        "config.linkerd.io/inbound-port": "5143",
        "config.linkerd.io/proxy-uid": "3000",
    });
    let pod = injected(&template(annotations, own));
    let init = pod["spec"]["initContainers"].as_array().unwrap();
    assert_eq!(init[0]["name"], "migrate");
    assert_eq!(init[1]["name"], "linkerd-init");
    assert_eq!(
        init[1]["args"],
        json!([
            "proxy-init",
            "--incoming-proxy-port",
            "5143",
            "--outgoing-proxy-port",
            "4140",
            "--proxy-uid",
            "3000",
            "--inbound-ports-to-ignore",
            "4190,4191,4222,5432",
            "--outbound-ports-to-ignore",
            "3306,6379",
            "--subnets-to-ignore",
            "10.9.0.0/16",
            "--ipv6=false",
        ])
    );
    let security = &init[1]["securityContext"];
    assert_eq!(
        security["capabilities"]["add"],
        json!(["NET_ADMIN", "NET_RAW"])
    );
    assert_eq!(security.get("privileged"), None);
    let sidecar = &pod["spec"]["containers"][0];
    assert_eq!(sidecar["securityContext"]["runAsUser"], 3000);
    assert_eq!(env(&pod, "INBOUND_LISTEN_ADDR").unwrap(), "0.0.0.0:5143");
    assert_eq!(sidecar["ports"][0]["containerPort"], 5143);
}

/// Where sidecars listen on IPv6 and where IPv6 is led to them is one setting.
#[test]
fn ipv6_is_redirected_where_sidecars_listen_on_it() {
    for (text, listens, redirects) in [
        ("disableIPv6: true", "0.0.0.0:4143", false),
        ("disableIPv6: false", "[::]:4143", true),
    ] {
        let values = SidecarValues::read(text).unwrap();
        let settings = Settings::new("linkerd", values, "PEM");
        let template = template(json!({"linkerd.io/inject": "enabled"}), json!({}));
        let pod = injected_by(&settings, &template);
        assert_eq!(env(&pod, "INBOUND_LISTEN_ADDR").unwrap(), listens);
        let args = &pod["spec"]["initContainers"][0]["args"];
        let said = args.as_array().unwrap().contains(&json!("--ipv6=false"));
        assert_eq!(said, !redirects, "{text}: {args}");
    }
}

#[test]
fn where_somebody_else_redirects_there_is_no_init_container() {
    let mut settings = settings();
    settings.values.cni_enabled = true;
    let template = template(json!({"linkerd.io/inject": "enabled"}), json!({}));
    let out = injected_by(&settings, &template);
    assert_eq!(out["spec"].get("initContainers"), None);
}

fn injected_by(settings: &Settings, template: &Value) -> Value {
    let pod = Pod {
        template,
        namespace: None,
        namespace_annotations: &BTreeMap::new(),
        owner: None,
        requested: false,
    };
    let Decision::Inject(patch) = decide(settings, &pod).unwrap() else {
        panic!("it asked for a sidecar");
    };
    let mut out = template.clone();
    json_patch::patch(&mut out, &patch).unwrap();
    out
}

#[test]
fn spans_go_to_the_collector_that_is_annotated() {
    let spoken = |annotations: Value| {
        let pod = injected(&template(annotations, json!({})));
        ["ADDR", "NAME"].map(|what| env(&pod, &format!("TRACE_COLLECTOR_SVC_{what}")))
    };
    assert_eq!(spoken(json!({})), [None, None]);
    let id = |account: &str| format!("{account}.serviceaccount.identity.linkerd.cluster.local");
    let full = "jaeger.tracing.svc.cluster.local.:55678";
    for (value, addr) in [
        ("jaeger.tracing:55678", full),
        ("jaeger.tracing.svc:55678", full),
        (
            "jaeger.tracing.svc.cluster.local:55678",
            "jaeger.tracing.svc.cluster.local:55678",
        ),
    ] {
        let said = spoken(json!({"config.linkerd.io/trace-collector": value}));
        assert_eq!(
            said,
            [Some(addr.to_owned()), Some(id("default.tracing"))],
            "{value}"
        );
    }
    let annotations = json!({
        "config.linkerd.io/trace-collector": "jaeger.tracing:4317",
        "config.alpha.linkerd.io/trace-collector-service-account": "collector",
    });
    let [_, name] = spoken(annotations.clone());
    assert_eq!(name.unwrap(), id("collector.tracing"));
    // Whose spans they are.
    let pod = injected(&template(annotations, json!({})));
    let attributes = env(&pod, "TRACE_EXTRA_ATTRIBUTES").unwrap();
    assert!(
        attributes.contains("k8s.pod.name=$(_pod_name)\n"),
        "{attributes}"
    );
    for value in [
        "jaeger:4317",
        "jaeger.tracing",
        "jaeger.tracing:0",
        "10.1.2.3:4317",
        "a b.c:1",
    ] {
        let annotations = json!({"config.linkerd.io/trace-collector": value});
        let error = decided(&template(annotations, json!({})), true).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("trace-collector") && text.contains("collector.tracing:4317"),
            "{text}"
        );
    }
}

#[test]
fn a_native_sidecar_runs_before_the_pods_own_init_containers() {
    let own = json!({"initContainers": [{"name": "migrate", "image": "m"}]});
    let annotation = "config.beta.linkerd.io/proxy-enable-native-sidecar";
    let pod = injected(&template(json!({ annotation: "true" }), own));
    let init = pod["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<_> = init.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["linkerd-init", "linkerd-proxy", "migrate"]);
    assert_eq!(init[1]["restartPolicy"], "Always");
    assert_eq!(init[1]["startupProbe"]["httpGet"]["path"], "/ready");
    assert_eq!(
        init[1].get("lifecycle"),
        None,
        "the probe holds the pod back"
    );
    assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1);
}

#[test]
fn each_annotation_sets_its_variable() {
    for (key, value, variable, expected) in [
        ("access-log", "apache", "ACCESS_LOG", Some("apache")),
        ("access-log", "none", "ACCESS_LOG", None),
        ("proxy-log-format", "json", "LOG_FORMAT", Some("json")),
        (
            "proxy-outbound-connect-timeout",
            "3s",
            "OUTBOUND_CONNECT_TIMEOUT",
            Some("3s"),
        ),
        (
            "proxy-inbound-connect-timeout",
            "3s",
            "INBOUND_CONNECT_TIMEOUT",
            Some("3s"),
        ),
        (
            "proxy-outbound-discovery-cache-unused-timeout",
            "1m",
            "OUTBOUND_DISCOVERY_IDLE_TIMEOUT",
            Some("1m"),
        ),
        (
            "proxy-disable-inbound-protocol-detect-timeout",
            "true",
            "INBOUND_DETECT_TIMEOUT",
            Some("365d"),
        ),
        (
            "proxy-disable-inbound-protocol-detect-timeout",
            "false",
            "INBOUND_DETECT_TIMEOUT",
            None,
        ),
        (
            "shutdown-grace-period",
            "30s",
            "SHUTDOWN_GRACE_PERIOD",
            Some("30s"),
        ),
        (
            "proxy-admin-shutdown",
            "enabled",
            "SHUTDOWN_ENDPOINT_ENABLED",
            Some("true"),
        ),
        ("pod-inbound-ports", "80,81", "INBOUND_PORTS", Some("80,81")),
        (
            "admin-port",
            "5191",
            "ADMIN_LISTEN_ADDR",
            Some("0.0.0.0:5191"),
        ),
        ("proxy-cpu-limit", "1500m", "CORES", Some("2")),
        (
            "proxy-outbound-max-idle-conns-per-host",
            "100",
            "OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT",
            Some("100"),
        ),
        (
            "proxy-outbound-max-requests-per-connection",
            "2",
            "OUTBOUND_MAX_REQUESTS_PER_CONNECTION",
            Some("2"),
        ),
    ] {
        let key = format!("config.linkerd.io/{key}");
        let pod = injected(&template(json!({ &key: value }), json!({})));
        assert_eq!(env(&pod, variable).as_deref(), expected, "{key}: {value}");
    }
    let ingress = injected(&template(
        json!({"linkerd.io/inject": "ingress"}),
        json!({}),
    ));
    assert_eq!(env(&ingress, "INGRESS_MODE").unwrap(), "true");
}

#[test]
fn hooks_resources_and_images_are_as_annotated() {
    let sidecar = sidecar_of(json!({
        "config.alpha.linkerd.io/proxy-wait-before-exit-seconds": "7",
        "config.linkerd.io/proxy-await": "disabled",
        "config.linkerd.io/proxy-image": "registry:5000/team/proxy",
        "config.linkerd.io/image-pull-policy": "Always",
        "config.linkerd.io/proxy-cpu-request": "100m",
        "config.linkerd.io/proxy-cpu-limit": "500m",
        "config.linkerd.io/proxy-ephemeral-storage-limit": "1Gi",
    }));
    let stop = json!({"preStop": {"sleep": {"seconds": 7}}});
    assert_eq!(sidecar["lifecycle"], stop);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        sidecar["image"],
        format!("registry:5000/team/proxy:{version}")
    );
    assert_eq!(sidecar["imagePullPolicy"], "Always");
    assert_eq!(
        sidecar["resources"],
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "ephemeral-storage": "1Gi"}})
    );
    let waits = sidecar_of(json!({}));
    assert_eq!(
        waits["lifecycle"]["postStart"]["exec"]["command"][2],
        "--port=4191"
    );
    let too_much = json!({
        "config.linkerd.io/proxy-cpu-request": "1",
        "config.linkerd.io/proxy-cpu-limit": "500m",
    });
    let error = decided(&template(too_much, json!({})), true).unwrap_err();
    assert!(error.to_string().contains("proxy-cpu-request"), "{error}");
}

#[test]
fn taking_the_sidecar_off_gives_the_pod_back() {
    let list = json!([{"name": "migrate", "image": "m"}]);
    for (metadata, spec) in [
        (
            json!({}),
            json!({"containers": [{"name": "app", "image": "app"}]}),
        ),
        (
            json!({"labels": {"app": "web"}, "annotations": {
                "linkerd.io/inject": "enabled", "config.linkerd.io/proxy-cpu-limit": "1"}}),
            json!({
                "containers": [{"name": "app", "image": "app"}],
                "initContainers": list,
                "volumes": [{"name": "data", "emptyDir": {}}],
            }),
        ),
        (
            json!({"annotations": {"config.linkerd.io/proxy-enable-native-sidecar": "true"}}),
            json!({"containers": [{"name": "app", "image": "app"}]}),
        ),
    ] {
        let mut template = json!({"spec": spec});
        if metadata != json!({}) {
            template["metadata"] = metadata;
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "shop", "annotations": {"config.linkerd.io/opaque-ports": "25"}}});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"template": template},
        });
        let before = vec![namespace, json!({"kind": "List", "items": [deployment]})];
        let mut after = manifest::inject(&settings(), before.clone())
            .unwrap()
            .documents;
        assert_ne!(after, before);
        assert_eq!(manifest::uninject(&mut after), ["deployment/web"]);
        assert_eq!(after, before);
        assert_eq!(manifest::uninject(&mut after), Vec::<String>::new());
    }
}

#[test]
fn a_container_of_the_users_own_that_is_called_linkerd_proxy_stays() {
    let spec = json!({"containers": [{"name": "linkerd-proxy", "image": "mine"}]});
    assert_eq!(uninject(&json!({"spec": spec})), None);
}
