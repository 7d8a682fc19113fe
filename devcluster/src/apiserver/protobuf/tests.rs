use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::HashSet;

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// A length-delimited item.
fn item(number: u64, bytes: &[u8]) -> Vec<u8> {
    [
        varint(number << 3 | 2),
        varint(bytes.len() as u64),
        bytes.to_vec(),
    ]
    .concat()
}

fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [item(1, api_version.as_bytes()), item(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), item(1, &meta), item(2, raw)].concat()
}

fn secret(raw: &[u8]) -> Result<Value, ApiError> {
    decode(&body("v1", "Secret", raw))
}

fn complaint(body: &[u8]) -> (u16, String) {
    let error = decode(body).unwrap_err();
    (error.code, error.message)
}

/// Bodies as Go sends them, and their JSON.
fn golden() -> impl Iterator<Item = (Vec<u8>, Value)> {
    include_str!("golden.txt").lines().map(|line| {
        let (body, json) = line.split_once(' ').unwrap();
        let body = STANDARD.decode(body).unwrap();
        (body, serde_json::from_str(json).unwrap())
    })
}

/// Without fields that are null: Go says that for an empty list and for no time.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[test]
fn the_table_is_read_whole() {
    let text = include_str!("fields.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(catalogue().lines(), lines.count());
    assert_eq!(catalogue().dangling(), [""; 0]);
}

#[test]
fn what_go_sends_is_what_it_sends_as_json() {
    let mut seen = 0;
    for (body, mut wanted) in golden() {
        let mut got = decode(&body).unwrap();
        without_nulls(&mut got);
        without_nulls(&mut wanted);
        assert_eq!(got, wanted, "{wanted}");
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn every_built_in_kind_can_be_sent() {
    for def in crate::apiserver::builtin::all() {
        let version = match def.group.as_str() {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        };
        let found = catalogue().root(&version, &def.kind);
        assert!(found.is_some(), "{version} {}", def.kind);
    }
}

#[test]
fn a_secret_keeps_its_bytes_and_drops_zeros() {
    let metadata = [item(1, b"x"), item(2, b""), item(8, b"")].concat();
    let entry = [item(1, b"k"), item(2, b"\x00\xff")].concat();
    let empty = item(1, b"e");
    let raw = [
        item(1, &metadata),
        item(2, &entry),
        item(2, &empty),
        item(3, b"Opaque"),
    ];
    assert_eq!(
        secret(&raw.concat()).unwrap(),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"},
            "data": {"k": "AP8=", "e": ""}, "type": "Opaque"})
    );
}

#[test]
fn inlined_messages_and_wanted_zeros_are_where_json_has_them() {
    let volume = [item(1, b"v"), item(2, &item(2, &[]))].concat();
    let template = item(2, &item(1, &volume));
    let none = [number(1, 0), number(2, 0), item(3, b"")].concat();
    let strategy = item(2, &item(1, &none));
    let spec = [
        number(1, 0),
        number(5, 0),
        item(3, &template),
        item(4, &strategy),
    ]
    .concat();
    let decoded = decode(&body("apps/v1", "Deployment", &item(2, &spec))).unwrap();
    assert_eq!(
        decoded["spec"],
        json!({"replicas": 0, "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
            "template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}})
    );
}

#[test]
fn numbers_may_be_packed() {
    let packed = [varint(7), varint(300)].concat();
    let context = [item(4, &packed), number(4, 9)].concat();
    let pod = item(2, &item(14, &context));
    let decoded = decode(&body("v1", "Pod", &pod)).unwrap();
    let groups = &decoded["spec"]["securityContext"]["supplementalGroups"];
    assert_eq!(*groups, json!([7, 300, 9]));
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let later = [
        number(1000, 5),
        item(1001, b"later"),
        [varint(1002 << 3 | 1), vec![0; 8]].concat(),
        [varint(1003 << 3 | 5), vec![0; 4]].concat(),
        item(3, b"Opaque"),
    ];
    assert_eq!(secret(&later.concat()).unwrap()["type"], "Opaque");
}

#[test]
fn options_of_a_deletion_come_in_any_group() {
    let raw = [number(1, 0), item(4, b"Foreground"), item(5, b"All")].concat();
    assert_eq!(
        decode(&body("apps/v1", "DeleteOptions", &raw)).unwrap(),
        json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "propagationPolicy": "Foreground", "dryRun": ["All"]})
    );
}

#[test]
fn kinds_without_a_message_are_refused() {
    assert_eq!(complaint(&body("a.b/v1", "Odd", &[])).0, 415);
    let (code, message) = complaint(&body("apps/v1", "Odd", &[]));
    assert_eq!(code, 400);
    assert!(message.contains("no kind \"Odd\" is registered for version \"apps/v1\""));
    assert_eq!(
        complaint(MAGIC).1,
        "the protobuf body cannot be read: Object 'Kind' is missing"
    );
}

#[test]
fn what_cannot_be_read_is_a_bad_request_that_says_why() {
    let time = |seconds, nanos| {
        let time = [number(1, seconds), number(2, nanos)].concat();
        item(1, &item(8, &time))
    };
    let managed = |json: &[u8]| item(1, &item(17, &item(7, &item(1, json))));
    for (raw, why) in [
        (item(1, &[0xff]), "it ends early"),
        (vec![0x0a, 0x7f], "it ends early"),
        ([&[0x0a][..], &[0xff; 10]].concat(), "a number is too long"),
        (vec![0x02, 0x00], "a field has an impossible number"),
        (vec![0x0b], "an item is of no known type"),
        (number(1, 1), "a field should have a length and has none"),
        (item(5, b"yes"), "a field should be an integer and is not"),
        (item(3, b"\xff"), "a text is not UTF-8"),
        (time(0, 1_000_000_000), "a time is out of range"),
        (time(1 << 40, 0), "a time is out of range"),
        (time(u64::MAX >> 1, 0), "a time is out of range"),
        (managed(b"{"), "JSON in it is malformed"),
    ] {
        let (code, message) = complaint(&body("v1", "Secret", &raw));
        assert_eq!(code, 400);
        assert!(message.contains(why), "{message}: should say {why}");
    }
    let raw = item(2, b"");
    let typed = item(1, &[item(1, b"v1"), item(2, b"Secret")].concat());
    for (more, why) in [
        (item(3, b"gzip"), "encoded in some other way"),
        (item(4, b"application/json"), "not protobuf"),
    ] {
        let whole = [MAGIC, &typed, &raw, &more].concat();
        assert!(complaint(&whole).1.contains(why));
    }
    assert!(complaint(b"{}").1.contains("does not start with k8s"));
}

#[test]
fn size_and_depth_are_bounded() {
    let many = item(1, b"").repeat(300_000);
    let pod = item(2, &many);
    assert!(
        complaint(&body("v1", "Pod", &pod))
            .1
            .contains("too many values")
    );
    let packed = item(2, &item(14, &item(4, &vec![1; 300_000])));
    assert!(
        complaint(&body("v1", "Pod", &packed))
            .1
            .contains("too many values")
    );
    // not: {not: {not: …}}
    let mut schema = Vec::new();
    for _ in 0..100 {
        schema = item(28, &schema);
    }
    let version = item(7, &item(4, &item(1, &schema)));
    let crd = body(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &item(2, &version),
    );
    assert!(complaint(&crd).1.contains("nested too deeply"));
}

#[test]
fn a_body_cut_anywhere_is_never_a_panic() {
    for (body, _) in golden() {
        for end in 0..body.len() {
            let _ = decode(&body[..end]);
        }
    }
}

#[test]
fn bodies_gone_wrong_are_never_a_panic() {
    let mut random = StdRng::seed_from_u64(7);
    let bodies: Vec<_> = golden().map(|(body, _)| body).collect();
    let mut outcomes = HashSet::new();
    for round in 0..20_000 {
        let mut body = bodies[round % bodies.len()].clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(MAGIC.len()..body.len());
            body[at] = random.random();
        }
        outcomes.insert(decode(&body).is_ok());
        let noise: Vec<u8> = (0..64).map(|_| random.random()).collect();
        let _ = decode(&[MAGIC, &noise].concat());
    }
    assert_eq!(outcomes.len(), 2, "some still are bodies, some are not");
}
