//! Control planes side by side, restarted, and after a death. Ignored, saying why, where the
//! binaries cannot be had; `MESH_E2E=require` makes that a failure.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "all of this is a test; a failure is a panic"
)]

use kind_e2e::assets::{self, Assets};
use kind_e2e::control_plane::{Config, ControlPlane};
use libtest_mimic::{Arguments, Failed, Trial};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that is to own a control plane until it is killed.
const OWNER: &str = "MESH_TEST_CONTROL_PLANE_OWNER";

type Claim = fn(&Assets) -> Result<(), Failed>;

const CLAIMS: [(&str, Claim); 3] = [
    ("two_at_once_do_not_collide", two_at_once_do_not_collide),
    ("a_restarted_api_server_still_has_its_objects", restarted),
    (
        "nothing_outlives_a_killed_owner",
        nothing_outlives_a_killed_owner,
    ),
];

fn main() {
    if std::env::var_os(OWNER).is_some() {
        return own();
    }
    let arguments = Arguments::from_args();
    let found = if arguments.list {
        Err("only listing".to_owned())
    } else {
        assets::all().map_err(|error| error.to_string())
    };
    if let Err(why) = &found {
        eprintln!("no control planes: {why}");
    }
    let trials = CLAIMS.map(|(name, claim)| match found.clone() {
        Ok(assets) => Trial::test(name, move || claim(&assets)),
        Err(why) if kind_e2e::required() => Trial::test(name, move || Err(Failed::from(why))),
        Err(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}

fn plane(assets: &Assets, name: &str) -> Result<ControlPlane, Failed> {
    let config = Config {
        name: name.into(),
        controllers: false,
        ..Config::default()
    };
    Ok(ControlPlane::start(assets, config)?)
}

fn kubectl(plane: &ControlPlane, args: &[&str]) -> Result<String, Failed> {
    let output = plane.kubectl().args(args).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failed::from(format!("kubectl {args:?}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn two_at_once_do_not_collide(assets: &Assets) -> Result<(), Failed> {
    let (west, east) = std::thread::scope(|scope| {
        let west = scope.spawn(|| plane(assets, "west"));
        let east = plane(assets, "east");
        (west.join().unwrap(), east)
    });
    let (west, east) = (west?, east?);
    kubectl(&west, &["create", "configmap", "here"])?;
    assert!(kubectl(&west, &["get", "configmap", "here"]).is_ok());
    assert!(kubectl(&east, &["get", "configmap", "here"]).is_err());
    assert!(west.memory().apiserver > 0, "{:?}", west.memory());
    Ok(())
}

fn restarted(assets: &Assets) -> Result<(), Failed> {
    let mut plane = plane(assets, "west")?;
    kubectl(&plane, &["create", "configmap", "kept"])?;
    plane.stop_apiserver();
    assert!(kubectl(&plane, &["get", "configmap", "kept"]).is_err());
    plane.start_apiserver()?;
    kubectl(&plane, &["get", "configmap", "kept"])?;
    Ok(())
}

/// Owns a control plane, says where, and waits to be killed.
fn own() {
    let plane = plane(&assets::all().unwrap(), "owned")
        .map_err(|_| ())
        .unwrap();
    println!("{}", plane.dir().display());
    std::thread::sleep(Duration::from_secs(60));
}

fn nothing_outlives_a_killed_owner(_: &Assets) -> Result<(), Failed> {
    let mut owner = Command::new(std::env::current_exe()?)
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut dir = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut dir)?;
    let pid = |name: &str| -> Result<u32, Failed> {
        let file = Path::new(dir.trim()).join(format!("{name}.pid"));
        Ok(std::fs::read_to_string(file)?.trim().parse()?)
    };
    let pids = [pid("etcd")?, pid("apiserver")?];
    owner.kill()?; // SIGKILL: nothing of it can tidy up
    owner.wait()?;
    let alive = |pid: &u32| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        state.is_ok_and(|s| !s.contains(") Z "))
    };
    let until = Instant::now() + Duration::from_secs(10);
    while pids.iter().any(alive) {
        assert!(Instant::now() < until, "still there: {pids:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_dir_all(dir.trim())?;
    Ok(())
}
