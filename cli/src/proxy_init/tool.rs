//! Carrying rules out with the programs of this machine: `nft`, or one of the `iptables`.

use super::rules::{self, Family, Redirect};
use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// Which program to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    /// nft if it is there, else iptables
    #[default]
    Auto,
    /// nftables' own
    Nft,
    /// iptables in front of nftables
    IptablesNft,
    /// iptables in front of the old tables
    IptablesLegacy,
    /// iptables as the machine has it
    Iptables,
}

/// Why the rules are not in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error(
        "no program to redirect with: install nftables (nft) or iptables ({0} were looked for in PATH)"
    )]
    Missing(String),
    #[error("cannot run {program}: {source}")]
    Run {
        program: &'static str,
        source: io::Error,
    },
    #[error("{program} refused the rules: {said}{hint}")]
    Refused {
        program: &'static str,
        said: String,
        hint: &'static str,
    },
}

/// The programs of one kind of iptables.
#[derive(Clone, Copy)]
struct Iptables {
    save: [&'static str; 2],
    restore: [&'static str; 2],
}

const NFT: Iptables = Iptables {
    save: ["iptables-nft-save", "ip6tables-nft-save"],
    restore: ["iptables-nft-restore", "ip6tables-nft-restore"],
};
const LEGACY: Iptables = Iptables {
    save: ["iptables-legacy-save", "ip6tables-legacy-save"],
    restore: ["iptables-legacy-restore", "ip6tables-legacy-restore"],
};
const PLAIN: Iptables = Iptables {
    save: ["iptables-save", "ip6tables-save"],
    restore: ["iptables-restore", "ip6tables-restore"],
};

/// A tool that is there.
#[derive(Clone, Copy)]
pub(crate) struct Found(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Nft,
    Iptables(Iptables),
}

/// A script and the program that reads it.
pub(crate) struct Script {
    pub(crate) program: &'static str,
    args: &'static [&'static str],
    pub(crate) text: String,
}

/// Looks for the tool, or for the first of them all.
pub(crate) fn find(tool: Tool) -> Result<Found, ToolError> {
    let all: &[Kind] = match tool {
        Tool::Auto => &[Kind::Nft, Kind::Iptables(NFT), Kind::Iptables(PLAIN)],
        Tool::Nft => &[Kind::Nft],
        Tool::IptablesNft => &[Kind::Iptables(NFT)],
        Tool::IptablesLegacy => &[Kind::Iptables(LEGACY)],
        Tool::Iptables => &[Kind::Iptables(PLAIN)],
    };
    let program = |kind: &Kind| match kind {
        Kind::Nft => "nft",
        Kind::Iptables(iptables) => iptables.restore[0],
    };
    match all.iter().find(|kind| is_there(program(kind))) {
        Some(kind) => Ok(Found(*kind)),
        None => {
            let names: Vec<&str> = all.iter().map(program).collect();
            Err(ToolError::Missing(names.join(", ")))
        }
    }
}

/// Whether `PATH` has a program.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The scripts that put `redirect` in place.
pub(crate) fn scripts(
    found: Found,
    redirect: &Redirect,
    families: &[Family],
) -> Result<Vec<Script>, ToolError> {
    let Kind::Iptables(iptables) = found.0 else {
        return Ok(vec![Script {
            program: "nft",
            args: &["-f", "-"],
            text: rules::nft(redirect, families),
        }]);
    };
    let one = |family: &Family| {
        let index = usize::from(*family == Family::V6);
        let saved = run(iptables.save[index], &["-t", "nat"], "")?;
        Ok(Script {
            program: iptables.restore[index],
            args: &["--noflush", "--wait"],
            text: rules::iptables(redirect, *family, &saved),
        })
    };
    families.iter().map(one).collect()
}

impl Script {
    /// Puts it in place.
    pub(crate) fn apply(&self) -> Result<(), ToolError> {
        run(self.program, self.args, &self.text).map(drop)
    }
}

fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, ToolError> {
    let failed = |source| ToolError::Run { program, source };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read to the end says why.
        let _said_below = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let not_permitted = said.contains("ermission denied") || said.contains("not permitted");
    let hint = if not_permitted {
        "; this needs root or CAP_NET_ADMIN (and CAP_NET_RAW for iptables) in the pod"
    } else {
        ""
    };
    Err(ToolError::Refused {
        program,
        said,
        hint,
    })
}
