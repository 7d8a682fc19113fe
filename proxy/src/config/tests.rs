use super::*;
use std::{collections::HashMap, io::Write};

/// The ten variables a stock proxy starts with.
struct Env {
    vars: HashMap<String, String>,
    _token: tempfile::NamedTempFile,
}

impl Env {
    fn minimal() -> Self {
        let mut token = tempfile::NamedTempFile::new().unwrap();
        token.write_all(b"token").unwrap();
        let anchors = mesh_tls::ca::Anchor::generate("test", Duration::from_secs(3600))
            .unwrap()
            .cert_pem();
        let id = "web.default.serviceaccount.identity.linkerd.cluster.local";
        let mut env = Self {
            vars: HashMap::new(),
            _token: token,
        };
        let token = env._token.path().display().to_string();
        for (key, value) in [
            ("IDENTITY_TRUST_ANCHORS", anchors.as_str()),
            ("IDENTITY_TOKEN_FILE", &token),
            ("IDENTITY_LOCAL_NAME", id),
            ("IDENTITY_SVC_ADDR", "127.0.0.1:8080"),
            ("DESTINATION_SVC_ADDR", "localhost.:8086"),
            ("POLICY_SVC_ADDR", "127.0.0.1:8090"),
            ("POLICY_WORKLOAD", "default:web"),
        ] {
            env = env.with(key, value);
        }
        env
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.vars
            .insert(format!("LINKERD2_PROXY_{key}"), value.to_owned());
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.vars.remove(&format!("LINKERD2_PROXY_{key}"));
        self
    }

    fn parse(&self, loopback: Option<IpAddr>) -> Result<Config, Errors> {
        Config::parse(&|key| self.vars.get(key).cloned(), loopback)
    }

    fn wrong(&self) -> Vec<String> {
        let errors = self.parse(None).expect_err("parsed");
        assert_eq!(errors.exit_code(), 64);
        let text = errors.to_string();
        let keys: Vec<String> = errors.mistakes().iter().map(|m| m.key.clone()).collect();
        assert!(keys.iter().all(|key| text.contains(key.as_str())));
        keys.iter()
            .map(|key| key.trim_start_matches("LINKERD2_PROXY_").to_owned())
            .collect()
    }
}

#[test]
fn a_minimal_environment_gets_stock_defaults() {
    let config = Env::minimal().parse(None).unwrap();
    assert_eq!(config.inbound.listen, "0.0.0.0:4143".parse().unwrap());
    assert_eq!(config.outbound.listen, ["127.0.0.1:4140".parse().unwrap()]);
    assert_eq!(config.admin.listen, "127.0.0.1:4191".parse().unwrap());
    assert_eq!(config.shutdown_grace, Duration::from_secs(120));
    assert_eq!(config.inbound.connect_timeout, Duration::from_millis(300));
    assert_eq!(config.inbound.failfast_timeout, Duration::from_secs(1));
    assert_eq!(config.inbound.backoff.max, Duration::from_secs(10));
    assert_eq!(config.outbound.connect_timeout, Duration::from_secs(1));
    assert_eq!(config.policy.addr.name, None);
    assert_eq!(config.destination.addr.host, "localhost.");
    assert!(config.inbound.gateway_suffixes.is_empty());
    assert_eq!(
        config.inbound.default_policy.as_str(),
        "all-unauthenticated"
    );
    assert!(!config.outbound.explicit);
    assert!(
        config
            .destination
            .profile_suffixes
            .contains("web.default.svc.cluster.local")
    );
}

#[test]
fn every_mistake_is_reported_at_once_with_its_key() {
    let env = Env::minimal()
        .without("IDENTITY_LOCAL_NAME")
        .with("IDENTITY_TOKEN_FILE", "/does/not/exist")
        .with("IDENTITY_TRUST_ANCHORS", "not a certificate")
        .with("POLICY_SVC_ADDR", "policy.linkerd:8090")
        .with("DESTINATION_SVC_ADDR", "nowhere")
        .with("INBOUND_LISTEN_ADDR", "4143")
        .with("INBOUND_PORTS", "80,x")
        .with("INBOUND_DEFAULT_POLICY", "maybe")
        .with("OUTBOUND_CONNECT_TIMEOUT", "fast")
        .with("SHUTDOWN_GRACE_PERIOD", "10")
        .with("OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE", "1");
    let mut wrong = env.wrong();
    wrong.sort();
    assert_eq!(
        wrong,
        [
            "DESTINATION_SVC_ADDR",
            "IDENTITY_LOCAL_NAME",
            "IDENTITY_TOKEN_FILE",
            "IDENTITY_TRUST_ANCHORS",
            "INBOUND_DEFAULT_POLICY",
            "INBOUND_LISTEN_ADDR",
            "INBOUND_PORTS",
            "OUTBOUND_CONNECT_TIMEOUT",
            "OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE",
            "POLICY_SVC_NAME",
            "SHUTDOWN_GRACE_PERIOD",
        ]
    );
}

#[test]
fn unknown_and_empty_variables_are_ignored() {
    let config = Env::minimal()
        .with("SOMETHING_NEW", "1")
        .with("OUTBOUND_CONNECT_TIMEOUT", "")
        .parse(None)
        .unwrap();
    assert_eq!(config.outbound.connect_timeout, Duration::from_secs(1));
}

#[test]
fn a_chart_like_environment_is_understood() {
    let name = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
    let config = Env::minimal()
        .with(
            "POLICY_SVC_ADDR",
            "linkerd-policy.linkerd.svc.cluster.local.:8090",
        )
        .with("POLICY_SVC_NAME", name)
        .with("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140,[::1]:4140")
        .with("INBOUND_LISTEN_ADDR", "[::]:4143")
        .with("ADMIN_LISTEN_ADDR", "[::]:4191")
        .with("INBOUND_PORTS", "80,8080-8082")
        .with("INBOUND_IPS", "10.0.0.1,fd00::1")
        .with("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.")
        .with("INBOUND_DEFAULT_POLICY", "cluster-authenticated")
        .with("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8,fd00::/8")
        .with("CONTROL_STREAM_INITIAL_TIMEOUT", "3s")
        .with("CONTROL_STREAM_IDLE_TIMEOUT", "5m")
        .with("CONTROL_STREAM_LIFETIME", "1h")
        .with("DESTINATION_CONTEXT", r#"{"ns":"default"}"#)
        .parse(None)
        .unwrap();
    assert_eq!(config.policy.addr.name.unwrap().as_str(), name);
    assert_eq!(config.outbound.listen.len(), 2);
    assert_eq!(
        config.inbound.ports.iter().collect::<Vec<_>>(),
        [80, 8080, 8081, 8082]
    );
    assert_eq!(config.inbound.ips.len(), 2);
    let suffixes = &config.inbound.gateway_suffixes;
    assert!(suffixes.contains("web.default.svc.cluster.local"));
    assert!(suffixes.contains("WEB.default.svc.cluster.local."));
    assert!(!suffixes.contains("web.default.xsvc.cluster.local"));
    assert_eq!(&*config.destination.context, r#"{"ns":"default"}"#);
}

#[test]
fn names_that_clients_choose_are_labels_only_where_that_is_asked_for() {
    let config = Env::minimal().parse(None).unwrap();
    assert!(!config.inbound.authority_labels && !config.outbound.hostname_labels);
    let env = Env::minimal()
        .with("INBOUND_METRICS_AUTHORITY_LABELS", "unsafe")
        .with("OUTBOUND_METRICS_HOSTNAME_LABELS", "true");
    let config = env.parse(None).unwrap();
    assert!(config.inbound.authority_labels && config.outbound.hostname_labels);
    let env = Env::minimal()
        .with("INBOUND_METRICS_AUTHORITY_LABELS", "safe")
        .with("OUTBOUND_METRICS_HOSTNAME_LABELS", "unsafe");
    assert_eq!(
        env.wrong(),
        [
            "INBOUND_METRICS_AUTHORITY_LABELS",
            "OUTBOUND_METRICS_HOSTNAME_LABELS"
        ]
    );
}

#[test]
fn stream_limits_and_backoffs_must_make_sense() {
    let env = Env::minimal()
        .with("CONTROL_STREAM_INITIAL_TIMEOUT", "10s")
        .with("CONTROL_STREAM_IDLE_TIMEOUT", "1s")
        .with("INBOUND_DEFAULT_POLICY", "cluster-unauthenticated");
    assert_eq!(
        env.wrong(),
        ["CONTROL_STREAM_INITIAL_TIMEOUT", "POLICY_CLUSTER_NETWORKS"]
    );
}

#[test]
fn in_the_loopback_network_a_pod_listens_once_and_explicitly() {
    let ip: IpAddr = "127.10.0.7".parse().unwrap();
    let config = Env::minimal()
        .with("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140,[::1]:4140")
        .parse(Some(ip))
        .unwrap();
    assert_eq!(config.outbound.listen, [SocketAddr::new(ip, 4140)]);
    assert!(config.outbound.explicit);
}

/// As the injector writes it for `config.linkerd.io/trace-collector`.
#[test]
fn a_collector_is_known_by_its_identity_and_spans_bear_whose_they_are() {
    let collector = "default.tracing.serviceaccount.identity.linkerd.cluster.local";
    let env = Env::minimal()
        .with(
            "TRACE_COLLECTOR_SVC_ADDR",
            "jaeger.tracing.svc.cluster.local.:55678",
        )
        .with("TRACE_COLLECTOR_SVC_NAME", collector)
        .with(
            "TRACE_EXTRA_ATTRIBUTES",
            "k8s.pod.name=web-0\nk8s.namespace.name=shop",
        );
    let trace = env.parse(None).unwrap().observe.trace.unwrap();
    assert_eq!(trace.addr.host, "jaeger.tracing.svc.cluster.local.");
    assert_eq!(trace.addr.port, 55678);
    assert_eq!(trace.addr.name.unwrap().as_str(), collector);
    let pod = ("k8s.pod.name".to_owned(), "web-0".to_owned());
    assert!(trace.attributes.contains(&pod), "{:?}", trace.attributes);
}

#[test]
fn a_workload_outside_a_cluster_needs_an_agent_and_names_instead_of_a_token() {
    let outside = Env::minimal()
        .without("IDENTITY_TRUST_ANCHORS")
        .without("IDENTITY_TOKEN_FILE")
        .without("IDENTITY_LOCAL_NAME")
        .without("IDENTITY_SVC_ADDR")
        .with(
            "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
            "unix:///run/agent.sock",
        )
        .with("IDENTITY_SERVER_ID", "spiffe://example.org/web")
        .with("IDENTITY_SERVER_NAME", "web.example.org");
    let identity = outside.parse(None).unwrap().identity;
    assert_eq!(identity.id.as_str(), "spiffe://example.org/web");
    assert_eq!(identity.server_name.as_deref(), Some("web.example.org"));
    let Source::Agent { api, pauses } = identity.source else {
        panic!("an issuer is asked");
    };
    assert_eq!(api.socket(), std::path::Path::new("/run/agent.sock"));
    assert_eq!(pauses.max, Duration::from_secs(1));
    let wrong = outside
        .with("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", "agent.sock")
        .with("IDENTITY_SERVER_ID", "web.example.org")
        .without("IDENTITY_SERVER_NAME");
    let expected = [
        "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
        "IDENTITY_SERVER_ID",
        "IDENTITY_SERVER_NAME",
    ];
    assert_eq!(wrong.wrong(), expected);
}
