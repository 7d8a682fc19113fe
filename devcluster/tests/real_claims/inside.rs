//! What pods are on the inside, and who gets there.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use serde_json::json;

use super::world::{NOBODY, NODE_IP, World};
use super::{server, shell};
use crate::pod::part;

pub(crate) fn pods_reach_the_api_server_with_tokens_it_knows(world: &mut World) {
    let ns = "tokens";
    world.namespace(ns);
    let mut main = shell("cat /tokens/t; while :; do sleep 1; done");
    main["securityContext"] = json!({"runAsUser": 2102});
    main["volumeMounts"] = json!([{"name": "t", "mountPath": "/tokens"}]);
    let volumes = json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "t", "audience": "identity.l5d.io",
            "expirationSeconds": 86400}}]}}]);
    world.pod(
        ns,
        "token",
        json!({"containers": [main], "volumes": volumes}),
    );
    world.pod(
        ns,
        "api",
        json!({"containers": [part("api", &[])], "restartPolicy": "Never"}),
    );
    let log = world.until_log(ns, "api", |log| !log.is_empty());
    assert!(log.starts_with("version 1."), "{log}");

    let token = world.until_log(ns, "token", |log| log.split('.').count() == 3);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["identity.l5d.io"]}});
    let file = format!("{}/review.json", world.run_id());
    std::fs::write(&file, review.to_string()).unwrap();
    let reviewed = world.ok(ns, &["create", "-f", &file, "-o", "json"]);
    let reviewed: serde_json::Value = serde_json::from_str(&reviewed).unwrap();
    let user = &reviewed["status"]["user"];
    assert_eq!(
        user["username"], "system:serviceaccount:tokens:default",
        "{reviewed}"
    );
    assert_eq!(
        user["extra"]["authentication.kubernetes.io/pod-name"][0],
        "token"
    );
}

pub(crate) fn a_deleted_pod_has_its_grace(world: &mut World) {
    let ns = "grace";
    world.namespace(ns);
    let script = "trap 'echo leaving; sleep 1; echo left; exit 0' TERM; echo here; \
                  while :; do sleep 0.1; done";
    let spec = json!({"containers": [shell(script)], "terminationGracePeriodSeconds": 30});
    world.pod(ns, "web", spec);
    world.until_log(ns, "web", |log| log.contains("here"));
    let mut follow = world.plane.kubectl();
    follow.args(["-n", ns, "logs", "-f", "web"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    world.ok(ns, &["delete", "pod", "web", "--wait=false"]);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    follow.wait().unwrap();
    assert_eq!(rest, "leaving\nleft\n");
    world.until("the pod is gone", || {
        world.get(ns, "pod/web").is_null().then_some(())
    });
}

pub(crate) fn a_container_that_is_not_live_is_restarted(world: &mut World) {
    let ns = "live";
    world.namespace(ns);
    let mut main = shell("touch /tmp/live; while :; do sleep 1; done");
    main["livenessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/live"]},
        "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1});
    main["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/live"]},
        "periodSeconds": 1});
    world.pod(ns, "web", json!({"containers": [main]}));
    world.pod(
        ns,
        "job",
        json!({"containers": [shell("exit 3")], "restartPolicy": "Never"}),
    );
    world.until_ready(ns, "web");
    world.ok(ns, &["exec", "web", "--", "rm", "/tmp/live"]);
    world.until_pod(ns, "web", "it is started again", |pod| {
        (pod["status"]["containerStatuses"][0]["restartCount"] == 1).then_some(())
    });
    world.until_ready(ns, "web");
    let job = world.until_pod(ns, "job", "it has failed", |pod| {
        (pod["status"]["phase"] == "Failed").then(|| pod.clone())
    });
    let ended = &job["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 3);
}

pub(crate) fn logs_exec_cp_and_port_forward_work(world: &mut World) {
    let ns = "kubectl";
    world.namespace(ns);
    world.pod(
        ns,
        "sh",
        json!({"containers": [shell("echo hello; while :; do sleep 1; done")]}),
    );
    world.pod(ns, "web", json!({"containers": [server()]}));
    world.until_ready(ns, "sh");
    world.until_ready(ns, "web");
    assert_eq!(world.ok(ns, &["logs", "sh"]), "hello\n");
    let said = world.ok(
        ns,
        &[
            "exec",
            "sh",
            "--",
            "sh",
            "-c",
            "hostname; echo $KUBERNETES_SERVICE_HOST",
        ],
    );
    assert!(said.contains("kubernetes.default"), "{said}");
    let failed = world.run(ns, &["exec", "sh", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7));

    let (there, back) = (
        format!("{}/there", world.run_id()),
        format!("{}/back", world.run_id()),
    );
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&there, &bytes).unwrap();
    world.ok(ns, &["cp", &there, "sh:/tmp/copied"]);
    world.ok(ns, &["cp", "sh:/tmp/copied", &back]);
    assert!(std::fs::read(&back).unwrap() == bytes, "the copy differs");

    let mut forward = world.plane.kubectl();
    forward.args(["-n", ns, "port-forward", "pod/web", ":80"]);
    let mut forward = forward.stdout(Stdio::piped()).spawn().unwrap();
    // kubectl goes on writing there.
    let mut words = BufReader::new(forward.stdout.take().unwrap());
    let mut line = String::new();
    words.read_line(&mut line).unwrap();
    let port = line
        .split([':', ' '])
        .filter_map(|word| word.parse::<u16>().ok())
        .next();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert_eq!(answer, "web 127.0.0.1");
}

pub(crate) fn strangers_are_not_served(world: &mut World) {
    let server = format!("--server=https://{NODE_IP}:10250");
    let ask = |more: &[&str]| {
        let none = [
            "--kubeconfig=/dev/null",
            &server,
            "--insecure-skip-tls-verify",
        ];
        let raw = ["get", "--raw", "/healthz"];
        let output = world.run("default", &[&none[..], more, &raw].concat());
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let token = |token: &str| format!("--token={token}");
    for stranger in [token(NOBODY), token(world.plane.admin_token()), token("x")] {
        let (served, said) = ask(&[&stranger]);
        assert!(
            !served && said.contains("must be logged in"),
            "{stranger}: {said}"
        );
    }
    let certificate = |dir: &std::path::Path, name: &str| {
        let file = |end: &str| dir.join(format!("{name}.{end}")).display().to_string();
        [
            format!("--client-certificate={}", file("crt")),
            format!("--client-key={}", file("key")),
        ]
    };
    let dir = world.plane.dir();
    let [crt, key] = certificate(dir, "kubelet-client");
    assert_eq!(ask(&[&crt, &key]), (true, "ok".to_owned()));
    sign(world, "nobody");
    let [crt, key] = certificate(std::path::Path::new(&world.run_id()), "nobody");
    let (served, said) = ask(&[&crt, &key]);
    assert!(!served && said.contains("Forbidden"), "{said}");
    // Signed by somebody else.
    let [crt, key] = certificate(std::path::Path::new(&world.run_id()), "nobody-foreign");
    let (served, said) = ask(&[&crt, &key]);
    assert!(!served, "{said}");
}

/// Makes certificates of a user without rights: by the cluster's CA, and by itself.
fn sign(world: &World, name: &str) {
    let dir = world.plane.dir();
    let key = std::fs::read_to_string(dir.join("ca.key")).unwrap();
    let key = rcgen::KeyPair::from_pem(&key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(world.plane.ca_pem(), &key).unwrap();
    let own = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let signed = params.signed_by(&own, &issuer).unwrap().pem();
    let foreign = params.self_signed(&own).unwrap().pem();
    for (file, pem) in [
        (name.to_owned(), signed),
        (format!("{name}-foreign"), foreign),
    ] {
        let path = |end: &str| format!("{}/{file}.{end}", world.run_id());
        std::fs::write(path("crt"), pem).unwrap();
        std::fs::write(path("key"), own.serialize_pem()).unwrap();
    }
}
