//! Custom resources.

use super::Claim;
use crate::sandbox::{Cluster, eventually};

pub const CLAIMS: &[Claim] = &[
    (
        "a custom resource is served as soon as its definition is",
        served,
    ),
    (
        "custom resources are validated, defaulted and pruned",
        validated,
    ),
    (
        "a custom resource is the same object in every version",
        versions,
    ),
    ("deleting a definition deletes its objects", deleted),
];

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: toys.test.mesh.io}
spec:
  group: test.mesh.io
  scope: Namespaced
  names: {plural: toys, singular: toy, kind: Toy, listKind: ToyList, shortNames: [ty]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Colour, type: string, jsonPath: .spec.colour}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    schema: &schema
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [colour]
            properties:
              colour: {type: string, enum: [red, blue]}
              size: {type: integer, minimum: 1, default: 3}
          status:
            type: object
            properties:
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type, status]
                  properties: {type: {type: string}, status: {type: string}}
  - {name: v1alpha1, served: true, storage: false, schema: *schema}
"#;

const TOY: &str = r#"{"apiVersion": "test.mesh.io/v1", "kind": "Toy",
    "metadata": {"name": "car"}, "spec": {"colour": "red"}}"#;

fn define(c: &Cluster) {
    c.fed(&["apply", "-f", "-"], DEFINITION);
    c.ok(&[
        "wait",
        "--for=condition=Established",
        "crd/toys.test.mesh.io",
        "--timeout=20s",
    ]);
}

fn served(c: &Cluster) {
    define(c);
    let again = c.fed(&["apply", "-f", "-"], DEFINITION);
    assert!(again.contains("unchanged"), "{again}");
    c.fed(&["apply", "--server-side", "-f", "-"], DEFINITION);
    assert!(
        c.fed(&["apply", "-f", "-"], TOY)
            .contains("toy.test.mesh.io/car created")
    );
    assert!(c.fed(&["apply", "-f", "-"], TOY).contains("unchanged"));
    assert!(
        c.fed(&["apply", "--server-side", "-f", "-"], TOY)
            .contains("serverside-applied")
    );
    let ready = r#"{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}"#;
    c.ok(&[
        "patch",
        "ty",
        "car",
        "--subresource=status",
        "--type=merge",
        "-p",
        ready,
    ]);
    c.ok(&["wait", "--for=condition=Ready", "toy/car", "--timeout=20s"]);
    let table = c.ok(&["get", "toys"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows,
        [["NAME", "COLOUR", "READY"], ["car", "red", "True"]],
        "{table}"
    );
    assert!(
        c.ok(&["api-resources", "--api-group=test.mesh.io"])
            .contains("Toy")
    );
    assert!(c.ok(&["explain", "toy.spec"]).contains("colour"));
    c.ok(&["label", "toy", "car", "a=b"]);
    assert_eq!(
        c.ok(&["get", "toys", "-l", "a=b", "-o", "name"]),
        "toy.test.mesh.io/car\n"
    );
}

fn validated(c: &Cluster) {
    define(c);
    let green = c.fed_fails(&["apply", "-f", "-"], &TOY.replace("red", "green"));
    assert!(
        green.contains(
            "The Toy \"car\" is invalid: spec.colour: Unsupported value: \"green\": supported \
             values: \"red\", \"blue\""
        ),
        "{green}"
    );
    let missing = c.fed_fails(
        &["apply", "-f", "-"],
        &TOY.replace(r#""colour": "red""#, ""),
    );
    assert!(missing.contains("spec.colour: Required value"), "{missing}");
    let unknown = TOY.replace(r#""red""#, r#""red", "wheels": 4"#);
    let strict = c.fed_fails(&["apply", "-f", "-"], &unknown);
    assert!(strict.contains("unknown field \"spec.wheels\""), "{strict}");
    let lenient = c.feed(&["apply", "--validate=warn", "-f", "-"], &unknown);
    assert!(
        lenient.ok && lenient.err.contains("unknown field \"spec.wheels\""),
        "{lenient:?}"
    );
    let spec = c.ok(&["get", "toy", "car", "-o", "jsonpath={.spec}"]);
    assert_eq!(spec, r#"{"colour":"red","size":3}"#);
}

fn versions(c: &Cluster) {
    define(c);
    c.fed(&["create", "-f", "-"], &TOY.replace("/v1\"", "/v1alpha1\""));
    let old = c.ok(&[
        "get",
        "toys.v1alpha1.test.mesh.io",
        "car",
        "-o",
        "jsonpath={.apiVersion}",
    ]);
    assert_eq!(old, "test.mesh.io/v1alpha1");
    let new = c.ok(&["get", "toy", "car", "-o", "jsonpath={.apiVersion}"]);
    assert_eq!(new, "test.mesh.io/v1");
    let gone = TOY.replace("/v1\"", "/v2\"");
    let said = c.fed_fails(&["create", "-f", "-"], &gone);
    assert!(
        said.contains("no matches for kind \"Toy\" in version \"test.mesh.io/v2\""),
        "{said}"
    );
}

fn deleted(c: &Cluster) {
    define(c);
    let held = TOY.replace(
        "\"name\": \"car\"",
        "\"name\": \"car\", \"finalizers\": [\"a.b/c\"]",
    );
    c.fed(&["create", "-f", "-"], &held);
    let mut deletes = c.spawn(&["delete", "crd", "toys.test.mesh.io"]);
    eventually("the toy is asked to go", || {
        let path = "jsonpath={.metadata.deletionTimestamp}";
        (!c.ok(&["get", "toy", "car", "-o", path]).is_empty()).then_some(())
    });
    let refused = c.fed_fails(&["create", "-f", "-"], &TOY.replace("car", "bus"));
    assert!(refused.contains("definition is terminating"), "{refused}");
    c.ok(&[
        "patch",
        "toy",
        "car",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    assert!(deletes.wait().unwrap().success());
    let gone = c.fails(&["get", "toys"]);
    assert!(
        gone.contains("could not find the requested resource"),
        "{gone}"
    );
    c.fed(&["apply", "-f", "-"], DEFINITION);
    let none = c.run(&["get", "toys.test.mesh.io"]);
    assert!(none.err.contains("No resources found"), "{none:?}");
}
