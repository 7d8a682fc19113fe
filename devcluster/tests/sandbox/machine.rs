//! Whether this machine can have network namespaces.

use std::process::Command;

/// What this machine lacks.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    for (program, args) in [("ip", &["-V"][..]), ("nft", &["--version"])] {
        if Command::new(program).args(args).output().is_err() {
            return Some(format!("it needs the program {program}"));
        }
    }
    let name = format!("mesh-probe-{}", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &name]).output();
    let _gone = Command::new("ip").args(["netns", "del", &name]).output();
    let made = made.ok()?;
    (!made.status.success()).then(|| String::from_utf8_lossy(&made.stderr).into_owned())
}
