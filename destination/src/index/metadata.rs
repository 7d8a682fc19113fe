//! Reading labels, annotations and numbers out of objects that anybody may have written.

use crate::ports::PortSet;
use kube::core::ObjectMeta;
use std::{collections::BTreeMap, str::FromStr};

/// Whether `key` is there with exactly `value`.
pub(crate) fn is(map: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    map.get(key).is_some_and(|found| found == value)
}

/// The annotation `key`, trimmed.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    Some(meta.annotations.as_ref()?.get(key)?.trim())
}

/// The label `key`.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    Some(meta.labels.as_ref()?.get(key)?.as_str())
}

/// The annotation `key` as something parsable; what cannot be read is as if it were not there.
pub(crate) fn parsed<T: FromStr>(meta: &ObjectMeta, key: &str) -> Option<T>
where
    T::Err: std::fmt::Display,
{
    let text = annotation(meta, key)?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            warn(meta, key, &error);
            None
        }
    }
}

/// The annotation `key` as a set of ports; items that cannot be read are left out.
pub(crate) fn ports(
    meta: &ObjectMeta,
    key: &str,
    named: impl Fn(&str) -> Option<u16>,
) -> Option<PortSet> {
    let text = annotation(meta, key)?;
    Some(PortSet::lenient(text, named, |item| {
        warn(meta, key, &format_args!("{item:?} is no port of it"));
    }))
}

/// A port number, if it is one.
pub(crate) fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// Without what would break the Prometheus text that proxies write it into as it is.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |c: &char| !c.is_control() && !matches!(c, '"' | '\\');
    text.chars().filter(harmless).take(253).collect()
}

/// Whether `text` can be one label of a DNS name.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= 63 && text.chars().all(plain)
}

/// Whether `text` can be a DNS name.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn warn(meta: &ObjectMeta, key: &str, problem: &dyn std::fmt::Display) {
    tracing::warn!(
        namespace = meta.namespace.as_deref().unwrap_or(""),
        name = meta.name.as_deref().unwrap_or(""),
        annotation = key,
        %problem,
        "ignoring what cannot be read of an annotation"
    );
}
