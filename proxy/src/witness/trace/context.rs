//! Which trace a request belongs to, as its headers say: W3C `traceparent`, or B3 in one header or
//! several. Pure, and total over any headers.

use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// A trace, and the span of it that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: [u8; 16],
    pub(super) parent: [u8; 8],
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    W3c,
    /// Several headers; whether the trace was written in 8 bytes.
    B3(bool),
    B3Single(bool),
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The trace of a request, if somebody wants to see it.
pub(super) fn sampled(headers: &HeaderMap) -> Option<Context> {
    w3c(headers)
        .or_else(|| single(headers))
        .or_else(|| several(headers))
}

/// The id of a request's trace, sampled or not, as it was written.
pub(in crate::witness) fn trace_id(headers: &HeaderMap) -> Option<String> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let parent = text(&TRACEPARENT).and_then(|text| text.split('-').nth(1));
    let id = parent.or_else(|| text(&B3_TRACE));
    let id = id.or_else(|| text(&B3)?.split('-').next())?;
    (id.len() <= 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

fn w3c(headers: &HeaderMap) -> Option<Context> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.trim().split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    // Later versions may say more; 255 is forbidden.
    let more = parts.next().is_some();
    let [version] = hex::<1>(version)?;
    if version == 255 || (version == 0 && more) {
        return None;
    }
    let [flags] = hex::<1>(flags)?;
    Context::new(hex(trace)?, hex(parent)?, Format::W3c).filter(|_| flags & 1 == 1)
}

fn single(headers: &HeaderMap) -> Option<Context> {
    let text = headers.get(B3)?.to_str().ok()?;
    let mut parts = text.trim().split('-');
    let (trace, parent) = (parts.next()?, parts.next()?);
    let (trace, short) = b3_trace(trace)?;
    let sampled = matches!(parts.next()?, "1" | "d");
    Context::new(trace, hex(parent)?, Format::B3Single(short)).filter(|_| sampled)
}

fn several(headers: &HeaderMap) -> Option<Context> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let sampled = matches!(text(B3_SAMPLED), Some("1" | "true")) || text(B3_FLAGS) == Some("1");
    let (trace, short) = b3_trace(text(B3_TRACE)?)?;
    Context::new(trace, hex(text(B3_SPAN)?)?, Format::B3(short)).filter(|_| sampled)
}

fn b3_trace(text: &str) -> Option<([u8; 16], bool)> {
    match text.len() {
        16 => {
            let mut trace = [0; 16];
            trace[8..].copy_from_slice(&hex::<8>(text)?);
            Some((trace, true))
        }
        _ => Some((hex(text)?, false)),
    }
}

impl Context {
    fn new(trace: [u8; 16], parent: [u8; 8], format: Format) -> Option<Self> {
        // All zeroes mean nobody.
        (trace != [0; 16] && parent != [0; 8]).then_some(Self {
            trace,
            parent,
            format,
        })
    }

    /// Tells whoever is asked next that `span` asks.
    pub(super) fn propagate<B>(&self, span: [u8; 8], request: &mut Request<B>) {
        let headers = request.headers_mut();
        let (trace, own) = (text(&self.trace), text(&span));
        let short = |short: bool| if short { &trace[16..] } else { &trace[..] };
        match self.format {
            Format::W3c => insert(headers, TRACEPARENT, &format!("00-{trace}-{own}-01")),
            Format::B3Single(is_short) => {
                let parent = text(&self.parent);
                let value = format!("{}-{own}-1-{parent}", short(is_short));
                insert(headers, B3, &value);
            }
            Format::B3(_) => {
                insert(headers, B3_PARENT, &text(&self.parent));
                insert(headers, B3_SPAN, &own);
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Hexadecimal and dashes always fit.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = text.as_bytes();
    if bytes.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(bytes.chunks(2)) {
        let digit = |b: u8| char::from(b).to_digit(16);
        let value = digit(pair[0])? * 16 + digit(pair[1])?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(out)
}

fn text(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        };
        pairs.iter().map(parse).collect()
    }

    fn passed_on(pairs: &[(&str, &str)]) -> Option<HeaderMap> {
        let mut request = Request::new(());
        *request.headers_mut() = headers(pairs);
        let context = sampled(request.headers())?;
        assert_eq!(text(&context.parent), SPAN);
        context.propagate([7; 8], &mut request);
        Some(std::mem::take(request.headers_mut()))
    }

    #[test]
    fn the_next_hop_is_told_who_asks_in_the_way_we_were_told() {
        let own = "0707070707070707";
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        let found = passed_on(&[("traceparent", &w3c)]).unwrap();
        assert_eq!(found["traceparent"], format!("00-{TRACE}-{own}-01"));
        for trace in [TRACE, &TRACE[16..]] {
            let b3 = format!("{trace}-{SPAN}-1");
            let found = passed_on(&[("b3", &b3)]).unwrap();
            assert_eq!(found["b3"], format!("{trace}-{own}-1-{SPAN}"));
            let several = [
                ("x-b3-traceid", trace),
                ("x-b3-spanid", SPAN),
                ("x-b3-sampled", "1"),
            ];
            let found = passed_on(&several).unwrap();
            assert_eq!(found["x-b3-traceid"], trace);
            assert_eq!(found["x-b3-spanid"], own);
            assert_eq!(found["x-b3-parentspanid"], SPAN);
        }
    }

    #[test]
    fn what_nobody_wants_to_see_or_can_read_is_left_alone() {
        let zero = "0".repeat(32);
        for text in [
            format!("00-{TRACE}-{SPAN}-00"),
            format!("00-{zero}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zero[..16]),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-x"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}x-{SPAN}-01"),
            String::new(),
        ] {
            assert_eq!(passed_on(&[("traceparent", &text)]), None, "{text}");
        }
        let b3 = format!("{TRACE}-{SPAN}-0");
        assert_eq!(passed_on(&[("b3", &b3)]), None);
        assert_eq!(passed_on(&[("b3", "0")]), None);
        let several = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        assert_eq!(passed_on(&several), None);
    }

    #[test]
    fn a_later_version_of_the_specification_is_understood() {
        let later = format!("01-{TRACE}-{SPAN}-01-more");
        assert!(passed_on(&[("traceparent", &later)]).is_some());
    }
}
