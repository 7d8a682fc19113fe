//! Flags.

use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn args(flags: &[&str]) -> Args {
    Cli::parse_from([&["identity"], flags].concat()).args
}

#[test]
fn defaults_are_those_of_the_control_plane() {
    let args = args(&[]);
    assert_eq!(args.addr.to_string(), "0.0.0.0:8080");
    assert_eq!(args.admin_addr.to_string(), "0.0.0.0:9990");
    let (id, validity) = check(&args).unwrap();
    assert_eq!(
        id.as_str(),
        "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"
    );
    assert_eq!(validity.lifetime, Duration::from_secs(86_400));
    assert_eq!(validity.skew, Duration::from_secs(10));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let args = args(&[
        "--issuance-lifetime=5s",
        "--clock-skew-allowance=1m",
        "--trust-domain=not a domain",
    ]);
    let text = check(&args).unwrap_err().to_string();
    for flag in [
        "--issuance-lifetime",
        "--clock-skew-allowance",
        "--trust-domain",
    ] {
        assert!(text.contains(flag), "{text}");
    }
    assert!(Cli::try_parse_from(["identity", "--issuance-lifetime=soon"]).is_err());
}
