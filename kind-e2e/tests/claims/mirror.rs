//! A label exports a Service; linked clusters have it under the cluster's name.

use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::World;

pub const CLAIMS: &[Claim] = &[
    claim(
        "mirror_exported_services_appear_and_answer",
        appear_and_answer,
    ),
    claim("mirror_ports_follow_the_original", ports_follow),
    claim("mirror_unexported_services_go", unexported_services_go),
];

fn appear_and_answer(world: &World) {
    world.shop();
    world.linked();
    world.sh("kubectl --context=east -n shop label svc/web mirror.linkerd.io/exported=true");
    world.appears("west", "-n shop svc/web-east", true);
    let url = "http://web-east.shop.svc.cluster.local/";
    let answer = world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));
    // Through the gateway, over mTLS all the way: the server knows who asks.
    let seen = &answer.answer;
    assert!(seen["client_id"].is_string(), "{seen}");
    assert!(
        seen["forwarded"].is_string(),
        "no gateway was passed: {seen}"
    );
    // North exports nothing.
    world.appears("west", "-n shop svc/web-north", false);
    let said = world.sh("mesh --context=west multicluster gateways");
    let east = said
        .lines()
        .find(|line| line.starts_with("east"))
        .unwrap_or_default();
    assert!(east.contains("True"), "{said}");
}

fn ports_follow(world: &World) {
    world.shop();
    world.linked();
    world.sh(
        "kubectl --context=east -n shop label --overwrite svc/web mirror.linkerd.io/exported=true",
    );
    world.appears("west", "-n shop svc/web-east", true);
    let patch = "[{\"op\":\"add\",\"path\":\"/spec/ports/-\",\"value\":{\"name\":\"alt\",\"port\":81,\"targetPort\":8080}}]";
    world.sh(&format!(
        "kubectl --context=east -n shop patch svc/web --type=json -p '{patch}'"
    ));
    let url = "http://web-east.shop.svc.cluster.local:81/";
    world.ask_until("west", SHOP, url, |answer| answer.is_from("east"));
    world.sh(
        "kubectl --context=east -n shop patch svc/web --type=json -p \
         '[{\"op\":\"remove\",\"path\":\"/spec/ports/1\"}]'",
    );
    world.eventually("the port to go again", || {
        let ports = world.get("west", "-n shop svc/web-east")["spec"]["ports"].to_string();
        if ports.contains("81") {
            Err(ports)
        } else {
            Ok(())
        }
    });
}

fn unexported_services_go(world: &World) {
    world.shop();
    world.linked();
    world.sh("mesh --context=east multicluster export web --namespace shop");
    world.appears("west", "-n shop svc/web-east", true);
    world.sh("kubectl --context=east -n shop label svc/web mirror.linkerd.io/exported-");
    world.appears("west", "-n shop svc/web-east", false);
    let url = "http://web-east.shop.svc.cluster.local/";
    world.ask_until("west", SHOP, url, |answer| answer.error.is_some());
}
