//! Envoy and HAProxy, configured by the files in `peers/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Pair, Routes, plain};
use crate::{
    child::Child,
    place::{Host, Place},
    setup::Haproxy,
};

/// Envoy.
pub(crate) fn envoy(place: &Place, binary: &Path) -> anyhow::Result<Pair> {
    let start = |name: &str, template: &str, id: &str| {
        let file = fill(place, &format!("{name}.yaml"), template)?;
        let mut command = Command::new(binary);
        command
            .arg("-c")
            .arg(file)
            .args(["--concurrency", "1", "--base-id", id, "-l", "warn"]);
        Child::start(name, place.dir(), &command)
    };
    // Two that run at once must not share memory with each other or with anybody else's.
    let base = 1000 + std::process::id() % 30_000 * 2;
    let server = include_str!("../../peers/envoy_server.yaml");
    let client = include_str!("../../peers/envoy_client.yaml");
    pair(
        place,
        "envoy",
        start("envoy-server", server, &base.to_string())?,
        start("envoy-client", client, &(base + 1).to_string())?,
        14140,
    )
}

/// HAProxy.
pub(crate) fn haproxy(place: &Place, found: &Haproxy) -> anyhow::Result<Pair> {
    let start = |name: &str, template: &str| {
        let file = fill(place, &format!("{name}.cfg"), template)?;
        let mut command = Command::new(&found.binary);
        command.arg("-f").arg(file).arg("-db");
        if let Some(libraries) = &found.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        Child::start(name, place.dir(), &command)
    };
    let server = include_str!("../../peers/haproxy_server.cfg");
    let client = include_str!("../../peers/haproxy_client.cfg");
    pair(
        place,
        "haproxy",
        start("haproxy-server", server)?,
        start("haproxy-client", client)?,
        15140,
    )
}

fn pair(
    place: &Place,
    name: &str,
    server: Child,
    client: Child,
    port: u16,
) -> anyhow::Result<Pair> {
    let ip = place.ip(Host::Client);
    let routes = Routes {
        http1: plain(ip, port),
        http2: plain(ip, port + 10),
        bytes: plain(ip, port + 20),
        clear: plain(ip, port + 30),
    };
    let name = name.to_owned();
    Pair {
        name,
        client,
        server,
        routes,
    }
    .ready()
}

/// Writes a template with this run's folder and addresses.
fn fill(place: &Place, name: &str, template: &str) -> anyhow::Result<PathBuf> {
    let text = template
        .replace("@DIR@", &place.dir().display().to_string())
        .replace("@CLIENT@", &place.ip(Host::Client).to_string())
        .replace("@SERVER@", &place.ip(Host::Server).to_string())
        .replace("@APP@", &place.ip(Host::Server).to_string());
    let path = place.dir().join(name);
    fs::write(&path, text)?;
    Ok(path)
}
