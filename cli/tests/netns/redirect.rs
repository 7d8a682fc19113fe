//! What `mesh proxy-init` promises, by each tool.

use crate::sandbox::{Claim, Pair};
use std::process::Output;

const TOOLS: [(&str, &[&str]); 4] = [
    ("kernel", &["ip", "nft"]), // nft tells what the kernel has
    ("nft", &["ip", "nft"]),
    (
        "iptables-nft",
        &["ip", "iptables-nft-restore", "ip6tables-nft-restore"],
    ),
    (
        "iptables-legacy",
        &["ip", "iptables-legacy-restore", "ip6tables-legacy-restore"],
    ),
];

type Test = fn(&str);

const BY_TOOL: [(&str, Test); 5] = [
    (
        "redirection_is_put_in_place_and_proved",
        redirection_is_put_in_place_and_proved,
    ),
    ("a_second_run_changes_nothing", a_second_run_changes_nothing),
    (
        "new_flags_replace_the_old_rules",
        new_flags_replace_the_old_rules,
    ),
    (
        "a_dry_run_prints_rules_and_changes_nothing",
        a_dry_run_prints_rules_and_changes_nothing,
    ),
    (
        "the_check_names_a_proxy_led_back_to_itself",
        the_check_names_a_proxy_led_back_to_itself,
    ),
];

pub(crate) fn all() -> Vec<Claim> {
    let mut claims: Vec<Claim> = TOOLS
        .into_iter()
        .flat_map(|(tool, needs)| {
            BY_TOOL.map(|(name, test)| Claim {
                name: format!("{name}::{}", tool.replace('-', "_")),
                needs,
                test: Box::new(move || test(tool)),
            })
        })
        .collect();
    claims.push(Claim {
        name: "the_check_says_that_nothing_is_redirected".to_owned(),
        needs: &["ip"],
        test: Box::new(the_check_says_that_nothing_is_redirected),
    });
    claims.push(Claim {
        name: "a_missing_tool_is_named".to_owned(),
        needs: &["ip"],
        test: Box::new(a_missing_tool_is_named),
    });
    claims.push(Claim {
        name: "the_kernel_is_told_what_nft_would_tell_it".to_owned(),
        needs: &["ip", "nft"],
        test: Box::new(the_kernel_is_told_what_nft_would_tell_it),
    });
    claims.push(Claim {
        name: "no_program_is_needed".to_owned(),
        needs: &["ip"],
        test: Box::new(no_program_is_needed),
    });
    claims.push(Claim {
        name: "who_lacks_the_capability_is_told".to_owned(),
        needs: &["ip", "setpriv"],
        test: Box::new(who_lacks_the_capability_is_told),
    });
    claims
}

fn init<'a>(tool: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["proxy-init", "--tool", tool], more].concat()
}

fn checks(output: &Output) -> Vec<(String, String)> {
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"));
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .map(|check| {
            let result = check["result"].as_str().unwrap().to_owned();
            let text = format!("{} {}", check["description"], check["cause"]);
            (result, text)
        })
        .collect()
}

fn redirection_is_put_in_place_and_proved(tool: &str) {
    let pair = Pair::new();
    let flags = ["--inbound-ports-to-ignore", "4190,4191,4567-4568"];
    pair.mesh_ok(&init(tool, &flags));
    let check = [&["proxy-init", "--check", "--output", "json"], &flags[..]].concat();
    let output = pair.mesh(&check);
    let checks = checks(&output);
    assert!(output.status.success(), "{checks:#?}");
    assert_eq!(
        checks.len(),
        6,
        "three claims for each of IPv4 and IPv6: {checks:#?}"
    );
    assert!(
        checks.iter().all(|(result, _)| result == "success"),
        "{checks:#?}"
    );
}

fn a_second_run_changes_nothing(tool: &str) {
    let pair = Pair::new();
    let flags = init(
        tool,
        &[
            "--outbound-ports-to-ignore=25,8000-8010",
            "--subnets-to-ignore=10.9.0.0/16",
        ],
    );
    pair.mesh_ok(&flags);
    let first = rules(&pair, tool);
    assert!(
        first.contains("4143") && first.contains("10.9.0.0/16"),
        "{first}"
    );
    pair.mesh_ok(&flags);
    assert_eq!(rules(&pair, tool), first);
}

fn new_flags_replace_the_old_rules(tool: &str) {
    let pair = Pair::new();
    pair.mesh_ok(&init(tool, &["--outbound-ports-to-ignore", "25"]));
    pair.mesh_ok(&init(
        tool,
        &["--outgoing-proxy-port", "14140", "--proxy-uid", "77"],
    ));
    let rules = rules(&pair, tool);
    assert!(rules.contains("14140") && rules.contains("77"), "{rules}");
    assert!(
        !rules.contains(" 4140") && !rules.contains("2102") && !rules.contains(" 25"),
        "{rules}"
    );
}

fn a_dry_run_prints_rules_and_changes_nothing(tool: &str) {
    let pair = Pair::new();
    let said = pair.mesh_ok(&init(tool, &["--dry-run"]));
    assert!(said.contains("4143") && said.contains("2102"), "{said}");
    let rules = rules(&pair, tool);
    assert!(!rules.contains("4143"), "{rules}");
}

fn the_check_names_a_proxy_led_back_to_itself(tool: &str) {
    let pair = Pair::new();
    // Made for another user: what the sidecar sends comes back to it.
    pair.mesh_ok(&init(tool, &["--proxy-uid", "99"]));
    let output = pair.mesh(&["proxy-init", "--check", "--output", "json"]);
    assert!(!output.status.success());
    let checks = checks(&output);
    let errors: Vec<&str> = checks
        .iter()
        .filter(|(result, _)| result == "error")
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(errors.len(), 2, "{checks:#?}");
    assert!(
        errors
            .iter()
            .all(|e| e.contains("uid 2102") && e.contains("itself")),
        "{errors:?}"
    );
}

fn the_check_says_that_nothing_is_redirected() {
    let pair = Pair::new();
    let output = pair.mesh(&["proxy-init", "--check", "--output", "json"]);
    assert!(!output.status.success());
    let errors = checks(&output);
    let errors: Vec<_> = errors
        .iter()
        .filter(|(result, _)| result == "error")
        .collect();
    assert_eq!(errors.len(), 4, "{errors:#?}");
    for (_, text) in errors {
        assert!(
            text.contains("past the sidecar") || text.contains("not redirected"),
            "{text}"
        );
    }
}

fn a_missing_tool_is_named() {
    let pair = Pair::new();
    let output = without_programs(&pair, &["proxy-init", "--tool", "iptables"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("iptables-restore is not in PATH") && said.contains("--tool kernel"),
        "{said}"
    );
}

/// More than a socket takes at once unless it is told to, and one of everything.
fn many_flags() -> Vec<String> {
    let ports: Vec<_> = (0..2000).map(|n| (20_001 + 2 * n).to_string()).collect();
    vec![
        format!(
            "--outbound-ports-to-ignore=25,8000-8010,{}",
            ports.join(",")
        ),
        "--inbound-ports-to-ignore=4190,4191,4567-4568".to_owned(),
        "--ports-to-redirect=80,443,8080-8090".to_owned(),
        "--subnets-to-ignore=10.9.0.0/16,192.0.2.1/32,172.16.0.0/12,fd99::/29,fd99:8::1/128"
            .to_owned(),
        "--proxy-gid=77".to_owned(),
    ]
}

fn the_kernel_is_told_what_nft_would_tell_it() {
    let flags = many_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let made_by = |tool| {
        let pair = Pair::new();
        pair.mesh_ok(&init(tool, &flags));
        rules(&pair, tool)
    };
    let by_nft = made_by("nft");
    assert!(by_nft.contains("8000-8010"), "{by_nft}");
    let by_us = made_by("kernel");
    for (ours, nfts) in by_us.lines().zip(by_nft.lines()) {
        assert_eq!(ours, nfts);
    }
    assert_eq!(by_us.lines().count(), by_nft.lines().count());
}

fn no_program_is_needed() {
    let pair = Pair::new();
    let put = without_programs(&pair, &["proxy-init"]);
    assert!(put.status.success(), "{put:?}");
    let proved = pair.mesh(&["proxy-init", "--check", "--output", "json"]);
    assert!(proved.status.success(), "{:#?}", checks(&proved));
}

fn who_lacks_the_capability_is_told() {
    let pair = Pair::new();
    let as_nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    let mesh = [env!("CARGO_BIN_EXE_mesh"), "proxy-init"];
    let enter = ["netns", "exec", &pair.pod];
    let output = crate::sandbox::output("ip", &[&enter[..], &as_nobody, &mesh].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("CAP_NET_ADMIN"), "{said}");
}

/// Runs `mesh` in the pod, where it finds no program.
fn without_programs(pair: &Pair, args: &[&str]) -> Output {
    let enter = ["netns", "exec", &pair.pod, "env", "PATH=/nowhere"];
    let all = [&enter[..], &[env!("CARGO_BIN_EXE_mesh")], args].concat();
    crate::sandbox::output("ip", &all)
}

/// What the kernel has, without counters.
fn rules(pair: &Pair, tool: &str) -> String {
    match tool {
        "nft" | "kernel" => pair.in_pod(&["nft", "list", "ruleset"]),
        tool => ["", "6"]
            .map(|six| {
                let save = tool.replacen("iptables", &format!("ip{six}tables"), 1) + "-save";
                let text = pair.in_pod(&[&save, "-t", "nat"]);
                let rules = text.lines().filter(|line| line.starts_with("-A"));
                rules.collect::<Vec<_>>().join("\n")
            })
            .join("\n"),
    }
}
