//! The `forwarded` header (RFC 7239) as gateways write it and look for themselves in it.
//!
//! It is evidence of a loop and a note for people who debug; nothing may be allowed because of
//! it, as every client can write one.

use http::{HeaderMap, HeaderValue};
use mesh_contract::headers::FORWARDED;
use mesh_tls::Id;

/// Whether the request has been at the gateway called `own` before.
pub(crate) fn has_passed(headers: &HeaderMap, own: &Id) -> bool {
    headers
        .get_all(FORWARDED)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| matches!(b, b',' | b';')))
        .filter_map(|pair| {
            let (key, value) = pair.split_at(pair.iter().position(|b| *b == b'=')?);
            key.trim_ascii()
                .eq_ignore_ascii_case(b"by")
                .then_some(&value[1..])
        })
        .any(|by| unquote(by.trim_ascii()) == own.as_str().as_bytes())
}

/// Notes that `by` forwards a request of `client` for `host`.
pub(crate) fn append(headers: &mut HeaderMap, by: &Id, client: &Id, host: &str) {
    let value = format!(
        "by={};for={};host={};proto=https",
        quote(by.as_str()),
        quote(client.as_str()),
        quote(host)
    );
    match HeaderValue::from_str(&value) {
        Ok(value) => drop(headers.append(FORWARDED, value)),
        Err(error) => tracing::warn!(%error, "an identity that fits in no header"),
    }
}

fn unquote(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// As a token if it is one, else as a quoted string.
fn quote(value: &str) -> String {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match value.chars().all(token) {
        true => value.to_owned(),
        false => format!("\"{}\"", value.replace(['"', '\\'], "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> Id {
        id.parse().unwrap()
    }

    #[test]
    fn a_gateway_recognises_its_own_note() {
        let east = id("linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.east");
        let spiffe = id("spiffe://west/gateway");
        let client = id("web.default.serviceaccount.identity.linkerd.cluster.local");
        let mut headers = HeaderMap::new();
        append(
            &mut headers,
            &east,
            &client,
            "web.default.svc.cluster.local",
        );
        assert!(has_passed(&headers, &east));
        assert!(!has_passed(&headers, &spiffe));
        append(&mut headers, &spiffe, &client, "web:8080");
        assert!(has_passed(&headers, &spiffe));
        let notes: Vec<_> = headers.get_all(FORWARDED).iter().collect();
        assert_eq!(
            notes[0],
            &format!("by={east};for={client};host=web.default.svc.cluster.local;proto=https")
        );
        assert_eq!(
            notes[1],
            &format!("by=\"{spiffe}\";for={client};host=\"web:8080\";proto=https")
        );
    }

    #[test]
    fn notes_are_found_in_any_spelling_and_nonsense_is_ignored() {
        let own = id("gw.example");
        for (text, passed) in [
            ("for=1.2.3.4, For=x;BY=gw.example", true),
            ("by=\"gw.example\"", true),
            ("by = gw.example", true),
            ("by=gw.example.org", false),
            ("for=gw.example", false),
            (";;=,,by", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED, HeaderValue::from_static(text));
            assert_eq!(has_passed(&headers, &own), passed, "{text}");
        }
    }
}
