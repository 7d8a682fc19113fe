//! The API server: that it answers, that it is recent enough, and that its clock is ours.

use super::Scene;
use crate::{checks::Report, cluster::explain};
use anyhow::{Context as _, bail};
use kube::Client;
use std::time::{Duration, SystemTime};

pub(super) const CATEGORY: &str = "kubernetes-api";

/// Sidecars use what became stable then.
const MINIMUM: (u32, u32) = (1, 29);
/// Certificates are valid from a little before they are made; beyond that they are refused.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

pub(super) async fn check(scene: &Scene<'_>, report: &mut Report) {
    report.section(CATEGORY);
    let version = scene.client.apiserver_version().await;
    let version = report.require(
        "the API server answers",
        version.map_err(|e| explain(e, "cannot ask for its version")),
        "check the address in the kubeconfig, the network, and that the server runs",
    );
    let Some(version) = version else { return };
    report.require(
        format!("Kubernetes is at least {}.{}", MINIMUM.0, MINIMUM.1),
        recent(&version.major, &version.minor),
        "upgrade the cluster first",
    );
    report.expect(
        "the API server's clock agrees with this machine's",
        clock(&scene.client).await,
        "synchronise the clocks (NTP): certificates of a wrong time are refused",
    );
}

fn recent(major: &str, minor: &str) -> anyhow::Result<()> {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let read = digits.parse::<u32>();
        read.with_context(|| format!("{major}.{minor} is no version"))
    };
    if (number(major)?, number(minor)?) < MINIMUM {
        bail!("it is {major}.{minor}");
    }
    Ok(())
}

async fn clock(client: &Client) -> anyhow::Result<()> {
    let request = http::Request::get("/version").body(kube::client::Body::empty())?;
    let response = client.send(request).await?;
    let date = response.headers().get(http::header::DATE);
    told(date.and_then(|date| date.to_str().ok()), SystemTime::now())
}

/// Whether the `Date` of an answer agrees with the clock here.
fn told(date: Option<&str>, now: SystemTime) -> anyhow::Result<()> {
    let date = date.context(
        "its answers have no Date, which every API server writes: is a proxy between? The clocks \
         were not compared",
    )?;
    let theirs = time(date).with_context(|| format!("{date:?} is no date"))?;
    agree(now, theirs)
}

/// Whether two clocks tell times that certificates can be exchanged at.
fn agree(now: SystemTime, theirs: SystemTime) -> anyhow::Result<()> {
    let skew = now
        .duration_since(theirs)
        .unwrap_or_else(|error| error.duration());
    if skew > MAX_SKEW {
        bail!("they differ by {} seconds", skew.as_secs());
    }
    Ok(())
}

/// An HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn time(date: &str) -> Option<SystemTime> {
    let date = chrono::DateTime::parse_from_rfc2822(date).ok()?;
    let seconds = u64::try_from(date.timestamp()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (major, minor, fine) in [
            ("1", "29", true),
            ("1", "34+", true),
            ("1", "9", false),
            ("2", "0", true),
            ("1", "", false),
        ] {
            assert_eq!(recent(major, minor).is_ok(), fine, "{major}.{minor}");
        }
    }

    #[test]
    fn clocks_ten_minutes_apart_are_told_whichever_is_ahead() {
        let now = SystemTime::now();
        let off = Duration::from_secs(10 * 60);
        for theirs in [now - off, now + off] {
            let told = agree(now, theirs).unwrap_err().to_string();
            assert_eq!(told, "they differ by 600 seconds");
        }
        agree(now, now - Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_clock_that_is_not_told_is_not_said_to_agree() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        told(Some(date), time(date).unwrap()).unwrap();
        let error = told(None, SystemTime::now()).unwrap_err().to_string();
        assert!(error.contains("not compared"), "{error}");
        assert!(told(Some("yesterday"), SystemTime::now()).is_err());
    }

    #[test]
    fn http_dates_are_read() {
        let date = time("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs(), 784_111_777);
        assert_eq!(time("yesterday"), None);
    }
}
