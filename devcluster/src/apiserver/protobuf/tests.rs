use super::*;

/// A length-delimited item.
fn item(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    out.extend(bytes);
    out
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [item(1, api_version.as_bytes()), item(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), item(1, &meta), item(2, raw)].concat()
}

#[test]
fn a_secret_keeps_its_bytes_and_drops_zeros() {
    let metadata = [item(1, b"x"), item(2, b""), item(8, b"")].concat();
    let entry = [item(1, b"k"), item(2, b"\x00\xff")].concat();
    let raw = [item(1, &metadata), item(2, &entry), item(3, b"Opaque")].concat();
    let decoded = decode(&body("v1", "Secret", &raw)).unwrap();
    assert_eq!(
        decoded,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"},
            "data": {"k": "AP8="}, "type": "Opaque"})
    );
}

#[test]
fn inlined_messages_and_wanted_zeros_are_where_json_has_them() {
    let volume = [item(1, b"v"), item(2, &item(2, &[]))].concat();
    let pod_spec = item(1, &volume);
    let template = item(2, &pod_spec);
    let spec = [number(1, 0), number(5, 0), item(3, &template)].concat();
    let decoded = decode(&body("apps/v1", "Deployment", &item(2, &spec))).unwrap();
    assert_eq!(
        decoded["spec"],
        json!({"replicas": 0, "template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}})
    );
}

#[test]
fn unknown_kinds_and_broken_bodies_are_refused() {
    assert_eq!(decode(&body("a.b/v1", "Odd", &[])).unwrap_err().code, 415);
    assert_eq!(decode(b"{}").unwrap_err().code, 400);
    let whole = body("v1", "Secret", &item(1, &item(1, b"x")));
    for end in 4..whole.len() {
        // Cut anywhere, it is an error or less of an object, never a panic.
        let _ = decode(&whole[..end]);
    }
    let mut long = MAGIC.to_vec();
    long.extend([
        0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ]);
    assert_eq!(decode(&long).unwrap_err().code, 400);
}
