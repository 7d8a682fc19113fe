//! h2spec: what RFC 9113's predecessor says an HTTP/2 server must do, against both sides on which
//! the proxy is one.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use mesh_proxy::transport_header::{Header, Session};
use stage::{Pair, relay::Relay};
use tokio::process::Command;

use crate::{
    app::App,
    programs,
    report::{Case, Outcome, Report, Suite},
};

const ABOUT: &str = "`h2spec --strict` (RFC 7540, 7541; built from \
                     `conformance/modules/h2spec`). Only what did not pass is listed.";
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let package = "github.com/summerwind/h2spec/cmd/h2spec";
    let program = programs::go("h2spec", package, "h2spec").await?;
    let app = App::start().await?;
    let pair = Pair::start(&[]).await?;
    let service = pair.serve(app.addr);
    let outbound = pair.entrance(service).await?;
    report.add(suite("outbound", &program, outbound.addr).await?);
    let header = Header {
        port: app.addr.port(),
        name: None,
        session: Some(Session::Http2),
    };
    let store = pair.client.store.clone();
    let server = stage::SERVER_ID.parse()?;
    let inbound = Relay::meshed(store, pair.server.inbound, server, header).await?;
    report.add(suite("inbound", &program, inbound.addr).await?);
    Ok(())
}

async fn suite(side: &str, program: &std::path::Path, addr: SocketAddr) -> anyhow::Result<Suite> {
    let junit = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(program);
    command
        .args(["--strict", "--host", &addr.ip().to_string()])
        .args(["--port", &addr.port().to_string(), "--junit-report"])
        .arg(junit.path());
    // It fails if any case does; the report says which.
    programs::run(&mut command, LIMIT).await?;
    let xml = std::fs::read_to_string(junit.path()).context("reading h2spec's report")?;
    let cases = cases(&xml);
    anyhow::ensure!(!cases.is_empty(), "h2spec reported nothing");
    Ok(Suite {
        name: format!("h2spec, {side}"),
        about: ABOUT,
        list_all: false,
        cases,
    })
}

/// The cases in a JUnit report as h2spec writes it.
fn cases(xml: &str) -> Vec<Case> {
    let case = |element: &str| {
        let attribute = |name: &str| {
            let begin = element.find(&format!("{name}=\""))? + name.len() + 2;
            let length = element[begin..].find('"')?;
            Some(unescape(&element[begin..begin + length]))
        };
        let name = format!("{} {}", attribute("package")?, attribute("classname")?);
        let said = |tag: &str| {
            let begin = element.find(&format!("<{tag}>"))? + tag.len() + 2;
            let length = element[begin..].find('<')?;
            let text = unescape(&element[begin..begin + length]);
            Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let failed = said("failure").or_else(|| said("error"));
        let outcome = match (failed, said("skipped")) {
            (Some(why), _) => Outcome::Failed(why),
            (None, Some(why)) => Outcome::Skipped(why),
            (None, None) => Outcome::Passed,
        };
        Some(Case::new(name, outcome))
    };
    xml.split("<testcase ").skip(1).filter_map(case).collect()
}

fn unescape(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#xA;", "\n"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_case_by_case() {
        let xml = "<testsuites><testsuite name=\"5.1\"><testcase package=\"http2/5.1\" \
                   classname=\"idle: Sends a DATA frame\" time=\"0.1\"></testcase><testcase \
                   package=\"http2/5.1\" classname=\"half &lt;closed&gt;\" time=\"0\">\
                   <failure>Expect: GOAWAY&#xA;Actual: nothing</failure></testcase><testcase \
                   package=\"x\" classname=\"y\" time=\"0\"><skipped></skipped></testcase>";
        let cases = cases(xml);
        let found: Vec<_> = cases
            .iter()
            .map(|c| (c.name.as_str(), &c.outcome))
            .collect();
        assert_eq!(
            found,
            [
                ("http2/5.1 idle: Sends a DATA frame", &Outcome::Passed),
                (
                    "http2/5.1 half <closed>",
                    &Outcome::Failed("Expect: GOAWAY Actual: nothing".into())
                ),
                ("x y", &Outcome::Skipped(String::new())),
            ]
        );
    }
}
