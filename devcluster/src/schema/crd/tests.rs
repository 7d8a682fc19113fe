use super::*;
use crate::status::Cause;
use crate::store::Store;
use serde_json::json;

fn crd() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "links.multicluster.linkerd.io", "uid": "1"},
    "spec": {"group": "multicluster.linkerd.io", "scope": "Namespaced",
        "names": {"plural": "links", "kind": "Link", "shortNames": ["lk"]},
        "versions": [
            {"name": "v1alpha1", "served": true, "storage": false,
             "schema": {"openAPIV3Schema": {"type": "object"}}},
            {"name": "v1alpha3", "served": true, "storage": true,
             "subresources": {"status": {}},
             "additionalPrinterColumns": [{"name": "Cluster", "type": "string", "jsonPath": ".spec.c"}],
             "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"c": {"type": "string"}}}}}}},
        ]}})
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut obj = crd();
    change(&mut obj);
    complete(&mut obj);
    let mut causes = Vec::new();
    validate(&obj, &mut causes);
    causes.iter().map(Cause::to_string).collect()
}

#[test]
fn a_crd_becomes_a_resource() {
    let mut obj = crd();
    complete(&mut obj);
    establish(None, &mut obj, &Store::default());
    assert_eq!(obj["status"]["conditions"][1]["type"], "Established");
    assert_eq!(obj["status"]["conditions"][1]["status"], "True");
    assert_eq!(obj["status"]["storedVersions"], json!(["v1alpha3"]));
    let def = crd_to_def(&obj).unwrap();
    assert_eq!(
        (def.singular.as_str(), def.list_kind.as_str()),
        ("link", "LinkList")
    );
    let versions: Vec<&str> = def.versions.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(versions, ["v1alpha3", "v1alpha1"]);
    assert!(def.versions[0].status_subresource && !def.versions[1].status_subresource);
    assert_eq!(def.versions[0].columns[0].json_path, ".spec.c");
}

#[test]
fn what_cannot_be_served_is_refused() {
    assert!(faults(|_| ()).is_empty());
    assert_eq!(
        faults(|c| c["metadata"]["name"] = json!("x")),
        [r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#]
    );
    assert_eq!(
        faults(|c| c["spec"]["versions"][0]["storage"] = json!(true)).len(),
        1
    );
    let field = "/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties/c";
    assert_eq!(
        faults(|c| *c.pointer_mut(field).unwrap() = json!({})),
        [
            "spec.versions[1].schema.openAPIV3Schema.properties[spec].properties[c].type: Required \
          value: must not be empty for specified object fields"
        ]
    );
    assert_eq!(
        faults(|c| *c.pointer_mut(field).unwrap() = json!({"type": "string", "pattern": "("}))
            .len(),
        1
    );
    assert_eq!(
        faults(|c| *c.pointer_mut(field).unwrap() = json!({"type": "string", "default": 1})).len(),
        1
    );
}

#[test]
fn names_taken_by_another_crd_are_not_served() {
    let store = Store::default();
    let key = crate::store::ResourceKey::new("apiextensions.k8s.io", "customresourcedefinitions");
    let mut first = crd();
    complete(&mut first);
    establish(None, &mut first, &store);
    store.create(&key, first).unwrap();
    let mut second = crd();
    second["metadata"] = json!({"name": "others.multicluster.linkerd.io", "uid": "2"});
    second["spec"]["names"]["plural"] = json!("others");
    complete(&mut second);
    establish(None, &mut second, &store);
    assert_eq!(second["status"]["conditions"][0]["reason"], "KindConflict");
    assert!(crd_to_def(&second).is_err());
}

#[test]
fn versions_are_offered_stable_first() {
    let mut names = vec![
        "v1alpha1", "foo", "v2beta1", "v1", "v10", "v1beta2", "v1beta10",
    ];
    names.sort_by_key(|n| Reverse(priority(n)));
    assert_eq!(
        names,
        [
            "v10", "v1", "v2beta1", "v1beta10", "v1beta2", "v1alpha1", "foo"
        ]
    );
}
