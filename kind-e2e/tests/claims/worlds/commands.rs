//! What a user types in a world, and waiting for what comes of it.

use super::{CLUSTERS, COMMAND, POLL, World, patience};
use crate::typed::{self, Said};
use std::process::Command;
use std::time::Instant;

impl World {
    pub(super) fn command(&self, name: &str) -> Command {
        let program = match name {
            "mesh" => &self.mesh,
            "kubectl" => &self.kubectl,
            other => panic!("nobody types {other:?} here"),
        };
        let mut command = Command::new(program);
        command
            .current_dir(&self.dir)
            .env_clear()
            .env("HOME", &self.dir)
            .env("KUBECONFIG", self.file("kubeconfig"));
        command
    }

    /// Runs a line of `mesh` and `kubectl` commands, pipes included, in the world's folder. It must
    /// succeed; what it printed.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        self.try_sh(line).out()
    }

    /// The same, but it may fail.
    #[track_caller]
    pub fn try_sh(&self, line: &str) -> Said {
        self.try_sh_with(line, "")
    }

    /// Applies manifests; what kubectl said.
    #[track_caller]
    pub fn apply(&self, cluster: &str, manifests: &str) -> String {
        self.try_sh_with(
            &format!("kubectl --context={cluster} apply -f -"),
            manifests,
        )
        .out()
    }

    /// Runs a line with something on its standard input.
    #[track_caller]
    pub fn try_sh_with(&self, line: &str, input: &str) -> Said {
        let mut said = Said {
            line: line.to_owned(),
            ok: true,
            out: input.to_owned(),
            err: String::new(),
        };
        for words in typed::parse(line) {
            let mut command = self.command(&words[0]);
            command.args(&words[1..]);
            let output = typed::run(command, &said.out, COMMAND);
            said.out = String::from_utf8_lossy(&output.stdout).into_owned();
            said.err += &String::from_utf8_lossy(&output.stderr);
            said.ok = output.status.success();
            if !said.ok {
                break;
            }
        }
        said
    }

    /// An object, or a list of them.
    #[track_caller]
    pub fn get(&self, cluster: &str, what: &str) -> serde_json::Value {
        let text = self.sh(&format!("kubectl --context={cluster} get {what} -o json"));
        serde_json::from_str(&text).unwrap()
    }

    /// Asks again and again until there is an answer; an error says what is missing.
    #[track_caller]
    pub fn eventually<T>(&self, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Instant::now() + patience();
        loop {
            match ask() {
                Ok(answer) => return answer,
                Err(missing) if Instant::now() > deadline => {
                    panic!("waited in vain for {what}: {missing}")
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// In all clusters at once.
    pub fn everywhere(&self, act: impl Fn(&'static str) + Sync) {
        std::thread::scope(|scope| {
            let act = &act;
            let all = CLUSTERS.map(|cluster| scope.spawn(move || act(cluster)));
            for one in all {
                if let Err(panic) = one.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }
}
