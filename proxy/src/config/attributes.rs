//! Attributes of the resource that spans are of: this process.

use std::{path::PathBuf, sync::Arc};

use super::vars::Vars;

/// OpenTelemetry's own variable, which is not one of a proxy.
const OTEL: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SERVICE_NAME: &str = "service.name";

/// Attributes in the order they were first said; of what is said twice the later holds.
struct Attributes(Vec<(String, String)>);

/// From `OTEL_RESOURCE_ATTRIBUTES`, the file at `TRACE_ATTRIBUTES_PATH`, `TRACE_EXTRA_ATTRIBUTES` and
/// `TRACE_SERVICE_NAME`: of what several say, the last of these holds. Never without `service.name`.
pub(super) fn parse(vars: &Vars<'_>) -> Arc<[(String, String)]> {
    let mut all = Attributes(Vec::new());
    all.put((SERVICE_NAME.to_owned(), "linkerd-proxy".to_owned()));
    otel(&vars.foreign(OTEL).unwrap_or_default()).for_each(|attribute| all.put(attribute));
    // Labels of the pod as the downward API writes them. A pod without any is none.
    if let Some(path) = vars.text("TRACE_ATTRIBUTES_PATH").map(PathBuf::from) {
        match std::fs::read_to_string(&path) {
            Ok(labels) => labels.lines().filter_map(pair).for_each(|l| all.put(l)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read attributes of traces");
            }
        }
    }
    let extra = vars.text("TRACE_EXTRA_ATTRIBUTES").unwrap_or_default();
    let extra = extra.lines().flat_map(|line| line.split(','));
    extra.filter_map(pair).for_each(|pair| all.put(pair));
    if let Some(service) = vars.text("TRACE_SERVICE_NAME") {
        all.put((SERVICE_NAME.to_owned(), service));
    }
    all.0.into()
}

impl Attributes {
    fn put(&mut self, (key, value): (String, String)) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
    }
}

/// `key=value`, in quotes or not.
fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.trim().split_once('=')?;
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    Some((key.trim().to_owned(), quoted.unwrap_or(value).to_owned()))
}

/// `key=value,…`, percent-encoded where OpenTelemetry asks for it. What is not like this is left out.
fn otel(text: &str) -> impl Iterator<Item = (String, String)> {
    let entries = text.split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .filter_map(|entry| {
            let attribute = otel_entry(entry);
            if attribute.is_none() {
                tracing::warn!(
                    "{OTEL}: {entry:?} is not key=value, percent-encoded; it is ignored"
                );
            }
            attribute
        })
}

fn otel_entry(entry: &str) -> Option<(String, String)> {
    let (key, value) = entry.split_once('=')?;
    let key = decoded(key.trim()).filter(|key| !key.is_empty())?;
    Some((key, decoded(value.trim())?))
}

/// Without the percent-encoding; nothing if that is broken, or no text.
fn decoded(text: &str) -> Option<String> {
    let mut rest = text.bytes();
    let mut bytes = Vec::with_capacity(text.len());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => (hex(rest.next()?)? << 4) | hex(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn attributes(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        let lookup = |key: &str| {
            let found = vars.iter().find(|(known, _)| *known == key);
            found.map(|(_, value)| (*value).to_owned())
        };
        parse(&Vars::new(&lookup)).to_vec()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn attributes_of_opentelemetry_are_decoded() {
        let text = "deployment.environment=prod, k8s.cluster.name = east%2C%20west ,\
                    equation%3D=a%3db=c,empty=,utf=%C3%A9+";
        let expected = [
            ("service.name", "linkerd-proxy"),
            ("deployment.environment", "prod"),
            ("k8s.cluster.name", "east, west"),
            ("equation=", "a=b=c"),
            ("empty", ""),
            ("utf", "é+"),
        ];
        assert_eq!(attributes(&[(OTEL, text)]), owned(&expected));
    }

    #[test]
    fn an_entry_that_is_broken_is_left_out_and_its_neighbours_are_not() {
        let text = "a=1,,nothing,=value,b=%,c=%4,d=%zz,e=%ff,%=x,%20f=2,";
        let expected = [("service.name", "linkerd-proxy"), ("a", "1"), (" f", "2")];
        assert_eq!(attributes(&[(OTEL, text)]), owned(&expected));
    }

    #[test]
    fn what_is_said_of_the_proxy_holds_over_what_is_said_of_every_process() {
        let mut labels = tempfile::NamedTempFile::new().unwrap();
        labels
            .write_all(b"app=\"web\"\nzone=\"b\"\nversion=\"2\"\n")
            .unwrap();
        let path = labels.path().display().to_string();
        let otel = (OTEL, "service.name=shop,app=otel,zone=otel,team=a");
        let mut vars = vec![
            otel,
            ("LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH", &path),
            ("LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES", "zone=c\nnode=n1"),
        ];
        let mut expected = [
            ("service.name", "shop"),
            ("app", "web"),
            ("zone", "c"),
            ("team", "a"),
            ("version", "2"),
            ("node", "n1"),
        ];
        assert_eq!(attributes(&vars), owned(&expected));
        vars.push(("LINKERD2_PROXY_TRACE_SERVICE_NAME", "web-proxy"));
        expected[0].1 = "web-proxy";
        assert_eq!(attributes(&vars), owned(&expected));
    }

    #[test]
    fn a_file_of_attributes_that_is_not_there_is_none() {
        let path = "/does/not/exist";
        let vars = [("LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH", path)];
        assert_eq!(attributes(&vars).len(), 1);
    }
}
