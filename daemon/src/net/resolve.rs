//! Names to addresses: literals, then a hosts file, then DNS.
//!
//! The hosts file is how pods of a devcluster, which have no file system of their own, learn the
//! names of their cluster. It is looked at before each resolution and read again when it changed.

use hickory_resolver::{TokioResolver, config::LookupIpStrategy};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};
use tokio::sync::OnceCell;

/// Names to addresses. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    hosts: Option<Mutex<Hosts>>,
    /// Made at the first name that needs it: a process whose names are all in its hosts file, or
    /// on a machine without `/etc/resolv.conf`, must work without.
    dns: OnceCell<TokioResolver>,
}

struct Hosts {
    path: PathBuf,
    /// Time, length and inode of the file when it was read, to see that it changed; the inode
    /// because two versions can be written within one tick of the file system's clock.
    seen: Option<(SystemTime, u64, u64)>,
    names: HashMap<String, Vec<IpAddr>>,
}

/// A hosts file longer than this is not one.
const MAX_HOSTS: u64 = 16 * 1024 * 1024;

impl Resolver {
    /// With `MESH_HOSTS_FILE`, if it is set.
    pub fn from_env() -> Self {
        Self::new(std::env::var_os(mesh_contract::env::HOSTS_FILE).map(PathBuf::from))
    }

    /// With this hosts file, if any. It need not exist yet.
    pub fn new(hosts: Option<PathBuf>) -> Self {
        let hosts = hosts.map(|path| {
            Mutex::new(Hosts {
                path,
                seen: None,
                names: HashMap::new(),
            })
        });
        Self(Arc::new(Inner {
            hosts,
            dns: OnceCell::new(),
        }))
    }

    /// IP literals, then the hosts file, then DNS. Never empty; the error names the host.
    pub async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(ip) = literal(host) {
            return Ok(vec![ip]);
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if name == "localhost" {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(hosts) = &self.0.hosts
            && let Some(ips) = hosts.lock().lookup(&name)
        {
            return Ok(ips);
        }
        self.resolve_dns(host).await
    }

    async fn resolve_dns(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let failed = |why: String| {
            let text = format!("cannot resolve {host}: {why}");
            io::Error::new(io::ErrorKind::NotFound, text)
        };
        let dns = self.0.dns.get_or_try_init(|| async { system_dns() }).await;
        let dns = dns.map_err(|error| failed(format!("no usable DNS configuration: {error}")))?;
        let found = dns
            .lookup_ip(host)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let ips: Vec<_> = found.iter().collect();
        if ips.is_empty() {
            return Err(failed("the name exists but has no address".to_owned()));
        }
        Ok(ips)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.0.hosts.as_ref().map(|hosts| hosts.lock().path.clone());
        f.debug_struct("Resolver")
            .field("hosts", &path)
            .finish_non_exhaustive()
    }
}

/// The address that `host` is, in brackets or not, if it is no name.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

fn system_dns() -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

impl Hosts {
    fn lookup(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        self.refresh();
        self.names.get(name).cloned()
    }

    /// Keeps the last good content when the file is gone or unreadable for a moment.
    fn refresh(&mut self) {
        let Ok(meta) = fs::metadata(&self.path) else {
            return;
        };
        let now = meta
            .modified()
            .ok()
            .map(|modified| (modified, meta.len(), meta.ino()));
        if now.is_some() && now == self.seen {
            return;
        }
        if meta.len() > MAX_HOSTS {
            tracing::warn!(path = %self.path.display(), "hosts file is too long, not read");
            self.seen = now;
            return;
        }
        match fs::read_to_string(&self.path) {
            Ok(text) => {
                self.names = parse(&text);
                self.seen = now;
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot read the hosts file")
            }
        }
    }
}

fn parse(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let ips = names.entry(name).or_default();
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn literals_and_localhost_need_nobody() {
        let resolver = Resolver::new(None);
        assert_eq!(
            resolver.resolve("10.1.2.3").await.unwrap(),
            ips(&["10.1.2.3"])
        );
        assert_eq!(resolver.resolve("[::1]").await.unwrap(), ips(&["::1"]));
        assert!(
            resolver
                .resolve("localhost.")
                .await
                .unwrap()
                .contains(&ips(&["127.0.0.1"])[0])
        );
    }

    #[tokio::test]
    async fn the_hosts_file_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        fs::write(
            &path,
            "10.0.0.1 web.default.svc.cluster.local # the first\n",
        )
        .unwrap();
        let resolver = Resolver::new(Some(path.clone()));
        let web = "web.default.svc.cluster.local.";
        assert_eq!(resolver.resolve(web).await.unwrap(), ips(&["10.0.0.1"]));

        fs::write(&path, "10.0.0.2 WEB.default.svc.cluster.local other\n10.0.0.3\tweb.default.svc.cluster.local\n").unwrap();
        assert_eq!(
            resolver.resolve(web).await.unwrap(),
            ips(&["10.0.0.2", "10.0.0.3"])
        );

        fs::remove_file(&path).unwrap();
        assert_eq!(resolver.resolve("other").await.unwrap(), ips(&["10.0.0.2"]));
    }

    #[test]
    fn lines_that_are_not_hosts_are_skipped() {
        let names = parse("nonsense\n\n# comment\n1.2.3 x\n::1 six\n10.0.0.1\n");
        assert_eq!(names.len(), 1);
        assert_eq!(names["six"], ips(&["::1"]));
    }

    #[tokio::test]
    async fn a_name_nobody_knows_is_named_in_the_error() {
        let error = Resolver::new(None)
            .resolve("no-such-host.invalid.")
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("no-such-host.invalid."),
            "{error}"
        );
    }
}
