//! What `mesh demo` leaves behind when it is told to stop: nothing but its logs.

use crate::sandbox::{Files, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use tokio::process::Command;

/// The processes that have `entry` in their environment.
fn running(entry: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|process| std::fs::read(process.ok()?.path().join("environ")).ok())
        .filter(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|known| known == entry.as_bytes())
        })
        .count()
}

#[tokio::test]
async fn whatever_ends_a_demo_stops_its_processes_and_says_where_the_logs_are() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let files = Files::new();
        let home = files.path("");
        let demo = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["demo", "--json"])
            .env("XDG_RUNTIME_DIR", &home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let runs = home.join("mesh");
        let entry = eventually(async || {
            let runs = std::fs::read_dir(&runs).map_err(|error| error.to_string())?;
            let entries = runs.filter_map(|run| {
                let run = run.ok()?.path();
                let entry = format!("MESH_DEVCLUSTER_RUN={}", run.display());
                (running(&entry) > 0).then_some(entry)
            });
            entries.last().ok_or_else(|| "no process yet".to_owned())
        })
        .await;

        let pid = demo.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.unwrap(), signal).unwrap();
        let output = demo.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal:?}: {output:?}");
        assert_eq!(running(&entry), 0, "{signal:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("logs are in "), "{said}");
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(line["ok"], false);
    }
}
