//! `mesh proxy-init`: leads a pod's traffic through its sidecar, and proves that it does.
//!
//! The init container of every injected pod runs it. The flags are those of Linkerd's proxy-init.
//! What to redirect is worked out in `rules.rs` without touching anything; `script.rs` and
//! `netlink.rs` spell it; `tool.rs` and `kernel.rs` carry it out; `check.rs` connects and looks where
//! the connection arrives. It runs in the network namespace it is started in and never enters another.

mod check;
mod kernel;
mod netlink;
mod ports;
mod rules;
mod script;
mod tool;

use crate::{
    checks::{CheckFormat, Report},
    output,
};
use ipnet::IpNet;
use mesh_contract::ports as words;
use ports::Ports;
use rules::{Family, Redirect};
use std::{net::SocketAddr, path::Path};
use tool::Tool;

/// Flags of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port of the sidecar for what comes in
    #[arg(short = 'p', long, value_name = "PORT", default_value_t = words::INBOUND)]
    incoming_proxy_port: u16,

    /// Port of the sidecar for what goes out
    #[arg(short = 'o', long, value_name = "PORT", default_value_t = words::OUTBOUND)]
    outgoing_proxy_port: u16,

    /// User the sidecar runs as; what it sends is never redirected
    #[arg(short = 'u', long, value_name = "UID", default_value_t = PROXY_UID)]
    proxy_uid: u32,

    /// Group whose traffic is never redirected either
    #[arg(short = 'g', long, value_name = "GID")]
    proxy_gid: Option<u32>,

    /// Inbound ports to redirect (default: all)
    #[arg(short = 'r', long, value_name = "PORTS", value_delimiter = ',')]
    ports_to_redirect: Vec<Ports>,

    /// Inbound ports and ranges to leave alone
    #[arg(short = 'i', long, value_name = "PORTS", value_delimiter = ',')]
    inbound_ports_to_ignore: Vec<Ports>,

    /// Outbound ports and ranges to leave alone
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    outbound_ports_to_ignore: Vec<Ports>,

    /// Networks to leave alone: as senders of what comes in, as receivers of what goes out
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    subnets_to_ignore: Vec<IpNet>,

    /// Redirect IPv6 too, where the pod has it
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set,
          default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    ipv6: bool,

    /// What to redirect with
    #[arg(long, value_enum, default_value_t, value_name = "TOOL")]
    tool: Tool,

    /// Print the rules and change nothing
    #[arg(long, visible_alias = "simulate", conflicts_with = "check")]
    dry_run: bool,

    /// Change nothing: connect, and tell whether the connections arrive at the sidecar's ports
    #[arg(long)]
    check: bool,

    /// How to print what --check finds
    #[arg(long, value_enum, default_value_t)]
    output: CheckFormat,

    /// Connect and end; what --check runs as the sidecar's user
    #[arg(long, hide = true, value_name = "ADDRESS")]
    probe: Option<SocketAddr>,

    /// Taken and ignored: the tools wait for their lock anyway
    #[arg(short = 'w', long, hide = true)]
    use_wait_flag: bool,
}

/// Uid of sidecars, as the injector sets it.
const PROXY_UID: u32 = 2102;

/// Puts the redirection in place, prints it, or proves it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(target) = args.probe {
        return check::probe(target);
    }
    if let Some(pod) = mesh_daemon::net::loopback() {
        // A pod that is an address of the whole machine has nothing of its own to redirect.
        return output::text(&format!(
            "nothing to redirect: {pod} is a pod of the loopback network, where sidecars are spoken to directly\n"
        ));
    }
    let redirect = args.redirect();
    let families = families(args.ipv6);
    if args.check {
        let mut report = Report::default();
        check::prove(&redirect, &families, &mut report).await;
        return report.finish("redirection", args.output);
    }
    let found = tool::find(args.tool)?;
    for script in tool::scripts(found, &redirect, &families)? {
        output::text(&format!("# {}\n{}", script.reader, script.text))?;
        if !args.dry_run {
            script.apply()?;
        }
    }
    Ok(())
}

impl Args {
    fn redirect(&self) -> Redirect {
        Redirect {
            inbound_port: self.incoming_proxy_port,
            outbound_port: self.outgoing_proxy_port,
            uid: self.proxy_uid,
            gid: self.proxy_gid,
            only_inbound: self.ports_to_redirect.clone(),
            skip_inbound: self.inbound_ports_to_ignore.clone(),
            skip_outbound: self.outbound_ports_to_ignore.clone(),
            skip_subnets: self.subnets_to_ignore.clone(),
        }
    }
}

fn families(ipv6: bool) -> Vec<Family> {
    let mut families = vec![Family::V4];
    // Not there at all where the kernel was told to do without.
    if ipv6 && Path::new("/proc/net/if_inet6").exists() {
        families.push(Family::V6);
    }
    families
}
