//! `mesh proxy-identity`: the start of a sidecar that finds its key on disk.
//!
//! Our own sidecar needs none of it. Others with Linkerd's interface read a key and a request to
//! certify it from a folder at their start, and leave it to their image to put them there.

use anyhow::{Context as _, bail};
use mesh_contract::{env, names};
use mesh_tls::{Id, TrustAnchors, write_end_entity};
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder the key goes to.
const DIR: &str = "IDENTITY_DIR";
/// The name to be certified.
const LOCAL_NAME: &str = "IDENTITY_LOCAL_NAME";
/// The trust anchors, PEM.
const TRUST_ANCHORS: &str = "IDENTITY_TRUST_ANCHORS";

/// Makes the identity of a sidecar that is not ours, then becomes that sidecar.
///
/// Writes a new P-256 key (key.p8) and the request to certify it (csr.der), for their owner's eyes
/// only, into the folder LINKERD2_PROXY_IDENTITY_DIR (default
/// /var/run/linkerd/identity/end-entity), in the name LINKERD2_PROXY_IDENTITY_LOCAL_NAME, once
/// LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS turned out to be certificates. Then PROGRAM takes this
/// process over, with its environment. `mesh proxy` needs none of this: its keys stay in memory.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sidecar and its arguments [default: /usr/lib/linkerd/linkerd2-proxy]
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

/// What the environment asks for.
#[derive(Debug, PartialEq)]
struct Wanted {
    dir: PathBuf,
    id: Id,
}

/// Returns only when something is wrong.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let wanted = wanted(|name| std::env::var(format!("{}{name}", env::PREFIX)).ok())?;
    write_end_entity(&wanted.dir, &wanted.id).with_context(|| {
        format!(
            "{}{DIR}: is a volume of the pod mounted at {}, and may this user write to it?",
            env::PREFIX,
            wanted.dir.display()
        )
    })?;
    let (program, words) = match args.program.split_first() {
        Some((program, words)) => (Path::new(program), words),
        None => (Path::new(names::OTHER_PROXY), &[][..]),
    };
    let error = Command::new(program).args(words).exec();
    bail!(
        "cannot run the sidecar {}: {error}; name another one after `--`",
        program.display()
    )
}

/// Reads the variables (named without their prefix) and checks them. Pure.
fn wanted(read: impl Fn(&str) -> Option<String>) -> anyhow::Result<Wanted> {
    let read = |name: &str| read(name).filter(|value| !value.is_empty());
    let required = |name: &str| {
        let prefix = env::PREFIX;
        read(name).with_context(|| {
            format!("{prefix}{name} is not set; the injector sets it in every meshed pod")
        })
    };
    let anchors = required(TRUST_ANCHORS)?;
    TrustAnchors::from_pem(&anchors).with_context(|| format!("{}{TRUST_ANCHORS}", env::PREFIX))?;
    let name = required(LOCAL_NAME)?;
    let id: Id = name
        .parse()
        .with_context(|| format!("{}{LOCAL_NAME}", env::PREFIX))?;
    if !matches!(id, Id::Dns(_)) {
        bail!("{}{LOCAL_NAME}: {name:?} is not a DNS name", env::PREFIX);
    }
    let dir = read(DIR).unwrap_or_else(|| names::END_ENTITY_DIR.to_owned());
    Ok(Wanted {
        dir: dir.into(),
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const NAME: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";

    fn of(changes: &[(&'static str, &str)]) -> Result<Wanted, String> {
        let anchors = mesh_tls::testing::Ca::new("root").0.cert_pem();
        let mut vars = BTreeMap::from([(LOCAL_NAME, NAME), (TRUST_ANCHORS, &anchors)]);
        vars.extend(changes.iter().copied());
        let read = |name: &str| vars.get(name).map(|value| (*value).to_owned());
        wanted(read).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_folder_is_linkerds_unless_another_is_named() {
        let made = of(&[]).unwrap();
        assert_eq!(made.id.as_str(), NAME);
        assert_eq!(made.dir, Path::new("/var/run/linkerd/identity/end-entity"));
        let other = of(&[(DIR, "/somewhere")]).unwrap();
        assert_eq!(other.dir, Path::new("/somewhere"));
    }

    #[test]
    fn a_variable_that_is_wrong_or_missing_is_named() {
        let table = [
            (LOCAL_NAME, "", "is not set"),
            (LOCAL_NAME, "a b", "looks like web.default.serviceaccount"),
            (LOCAL_NAME, "web.", "looks like web.default.serviceaccount"),
            (LOCAL_NAME, "spiffe://x/y", "is not a DNS name"),
            (TRUST_ANCHORS, "", "is not set"),
            (TRUST_ANCHORS, "/ca.crt", "must be one or more PEM blocks"),
        ];
        for (name, value, wanted) in table {
            let said = of(&[(name, value)]).unwrap_err();
            let full = format!("LINKERD2_PROXY_{name}");
            assert!(said.contains(&full) && said.contains(wanted), "{said}");
        }
    }
}
