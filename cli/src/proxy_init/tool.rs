//! Carrying rules out: by the kernel itself, or with a program of this machine, `nft` or one of the
//! `iptables`.

use super::{
    kernel, netlink,
    rules::{Family, Redirect},
    script,
};
use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// Which program to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    /// The kernel's nf_tables if it has them, else iptables
    #[default]
    Auto,
    /// The kernel's nf_tables, with no program between
    Kernel,
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
    #[error("{0} is not in PATH; --tool kernel needs no program")]
    Missing(&'static str),
    #[error(
        "nothing to redirect with: this kernel has no nf_tables, and {0} is not in PATH; \
         load the module nf_tables on the node, or use an image that has iptables"
    )]
    Nothing(&'static str),
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

const KERNEL: &str = "the kernel's nf_tables";

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
    Kernel,
    Nft,
    Iptables(Iptables),
}

/// What puts a part of the rules in place.
pub(crate) struct Script {
    /// What reads it.
    pub(crate) reader: &'static str,
    /// The rules, for people; a program reads them too.
    pub(crate) text: String,
    carrier: Carrier,
}

enum Carrier {
    Kernel(netlink::Batch),
    Program(&'static [&'static str]),
}

/// Looks for the tool.
pub(crate) fn find(tool: Tool) -> Result<Found, ToolError> {
    let kind = match tool {
        Tool::Auto if kernel::has_nf_tables() => Kind::Kernel,
        Tool::Kernel => Kind::Kernel,
        Tool::Nft => Kind::Nft,
        Tool::IptablesNft => Kind::Iptables(NFT),
        Tool::IptablesLegacy => Kind::Iptables(LEGACY),
        Tool::Auto | Tool::Iptables => Kind::Iptables(PLAIN),
    };
    let program = match kind {
        Kind::Kernel => return Ok(Found(kind)),
        Kind::Nft => "nft",
        Kind::Iptables(iptables) => iptables.restore[0],
    };
    if is_there(program) {
        Ok(Found(kind))
    } else if tool == Tool::Auto {
        Err(ToolError::Nothing(program))
    } else {
        Err(ToolError::Missing(program))
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
    let nft = |reader, carrier| Script {
        reader,
        text: script::nft(redirect, families),
        carrier,
    };
    let iptables = match found.0 {
        Kind::Kernel => {
            let batch = netlink::batch(redirect, families);
            return Ok(vec![nft(KERNEL, Carrier::Kernel(batch))]);
        }
        Kind::Nft => return Ok(vec![nft("nft", Carrier::Program(&["-f", "-"]))]),
        Kind::Iptables(iptables) => iptables,
    };
    let one = |family: &Family| {
        let index = usize::from(*family == Family::V6);
        let saved = run(iptables.save[index], &["-t", "nat"], "")?;
        Ok(Script {
            reader: iptables.restore[index],
            text: script::iptables(redirect, *family, &saved),
            carrier: Carrier::Program(&["--noflush", "--wait"]),
        })
    };
    families.iter().map(one).collect()
}

impl Script {
    /// Puts it in place.
    pub(crate) fn apply(self) -> Result<(), ToolError> {
        match self.carrier {
            Carrier::Program(args) => run(self.reader, args, &self.text).map(drop),
            Carrier::Kernel(batch) => kernel::tell(batch).map_err(|error| ToolError::Refused {
                program: self.reader,
                said: error.to_string(),
                hint: hint(error.is_permission()),
            }),
        }
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
    Err(ToolError::Refused {
        program,
        said,
        hint: hint(not_permitted),
    })
}

fn hint(not_permitted: bool) -> &'static str {
    if not_permitted {
        "; this needs root or CAP_NET_ADMIN (and CAP_NET_RAW for iptables) in the pod"
    } else {
        ""
    }
}
