//! `metadata.managedFields`: reading, writing, and what an update or an apply does to it.

use super::set::Fields;
use super::shape::Shape;
use super::walk::{self, compare, fields_of};
use crate::status::{ApiError, Cause};
use crate::store::now;
use serde_json::{Value, json};

/// Fields nobody owns: identity, and what the server sets.
const UNOWNED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:deletionTimestamp"],
    &["f:metadata", "f:deletionGracePeriodSeconds"],
];

/// What `kubectl apply` leaves on an object: the configuration it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who manages objects that were there before anybody was written down.
const BEFORE: &str = "before-first-apply";

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(in crate::apiserver) struct Writer<'a> {
    pub(in crate::apiserver) manager: &'a str,
    /// In which version (`apps/v1`).
    pub(in crate::apiserver) api_version: &'a str,
    /// Through which subresource.
    pub(in crate::apiserver) subresource: &'a str,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: Option<String>,
    fields: Fields,
}

impl Entry {
    fn is(&self, writer: &Writer<'_>, apply: bool) -> bool {
        self.manager == writer.manager
            && self.apply == apply
            && self.subresource == writer.subresource
            && (apply || self.api_version == writer.api_version)
    }

    fn of(writer: &Writer<'_>, apply: bool, fields: Fields) -> Self {
        Self {
            manager: writer.manager.to_owned(),
            apply,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: Some(now()),
            fields,
        }
    }

    /// As conflicts name it.
    fn printed(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out = format!("{out} with subresource {:?}", self.subresource);
        }
        if !self.apply {
            out = format!("{out} using {}", self.api_version);
        }
        out
    }
}

fn entries(obj: &Value) -> Vec<Entry> {
    let list = obj["metadata"]["managedFields"].as_array();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let read = |entry: &Value| Entry {
        manager: text(entry, "manager"),
        apply: entry["operation"] == "Apply",
        api_version: text(entry, "apiVersion"),
        subresource: text(entry, "subresource"),
        time: entry["time"].as_str().map(str::to_owned),
        fields: Fields::from_value(&entry["fieldsV1"]),
    };
    list.into_iter()
        .flatten()
        .map(read)
        .filter(|e| !e.fields.is_empty())
        .collect()
}

fn write(obj: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.fields.is_empty());
    // As kube-apiserver orders them: appliers first, then by time and name.
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (!e.apply, e.time.clone(), e.manager.clone());
        key(a).cmp(&key(b))
    });
    let list: Vec<Value> = entries.iter().map(written).collect();
    if let Some(metadata) = obj["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        if !list.is_empty() {
            metadata.insert("managedFields".into(), Value::Array(list));
        }
    }
}

fn written(entry: &Entry) -> Value {
    let mut out = json!({
        "manager": entry.manager,
        "operation": if entry.apply { "Apply" } else { "Update" },
        "apiVersion": entry.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields.to_value(),
    });
    if let Some(time) = &entry.time {
        out["time"] = json!(time);
    }
    if !entry.subresource.is_empty() {
        out["subresource"] = json!(entry.subresource);
    }
    out
}

fn owned(mut fields: Fields) -> Fields {
    for path in UNOWNED {
        fields.forget(path, true);
    }
    fields.forget(&["f:metadata"], false);
    fields.own = false;
    fields
}

/// Records a create (`old` is `None`), update or patch in the new object's `managedFields`.
///
/// A client may edit or reset (`[{}]`) the list itself; one that leaves it out keeps it.
pub(in crate::apiserver) fn record_update(
    old: Option<&Value>,
    new: &mut Value,
    writer: &Writer<'_>,
    shape: &Shape<'_>,
) {
    let mut list = kept_entries(old, new);
    let nothing = json!({});
    let changes = compare(old.unwrap_or(&nothing), new, shape);
    let (set, removed) = (owned(changes.set), owned(changes.removed));
    if !set.is_empty() || !removed.is_empty() {
        let mut mine = Fields::default();
        list.retain_mut(|entry| {
            if entry.is(writer, false) {
                mine = mine.union(&entry.fields);
                return false;
            }
            entry.fields = entry.fields.minus(&set).minus(&removed);
            true
        });
        list.push(Entry::of(writer, false, mine.union(&set).minus(&removed)));
    }
    write(new, list);
}

fn kept_entries(old: Option<&Value>, new: &Value) -> Vec<Entry> {
    let given = new["metadata"]["managedFields"].as_array();
    match given {
        Some(list) if list.len() == 1 && list[0] == json!({}) => Vec::new(),
        Some(list) if !list.is_empty() => entries(new),
        _ => old.map(entries).unwrap_or_default(),
    }
}

/// What applying a configuration makes of an object.
///
/// `live` is the object as it is, or an empty object. Without `force`, fields that others own
/// and that would change are a conflict.
pub(in crate::apiserver) fn apply(
    live: &Value,
    config: &Value,
    writer: &Writer<'_>,
    shape: &Shape<'_>,
    force: bool,
) -> Result<Value, ApiError> {
    let mut list = entries(live);
    if list.is_empty() && live.get("metadata").is_some() {
        let before = Writer {
            manager: BEFORE,
            subresource: "",
            ..*writer
        };
        list.push(Entry::of(&before, false, owned(fields_of(live, shape))));
    }
    let mine = owned(fields_of(config, shape));
    let (last, mut others): (Vec<Entry>, Vec<Entry>) =
        list.into_iter().partition(|e| e.is(writer, true));
    let last_fields = last
        .iter()
        .fold(Fields::default(), |sum, e| sum.union(&e.fields));

    let mut merged = walk::merge(live, config, shape);
    let kept = others
        .iter()
        .fold(mine.clone(), |sum, e| sum.union(&e.fields));
    let given_up = last_fields.minus(&kept);
    walk::remove(&mut merged, &given_up, &kept, shape);

    let changes = compare(live, &merged, shape);
    let (set, removed) = (owned(changes.set), owned(changes.removed));
    let upgraded = if writer.manager == "kubectl" {
        last_applied(live, shape)
    } else {
        Fields::default()
    };
    settle(&mut others, &set, &upgraded, force)?;
    for entry in &mut others {
        entry.fields = entry.fields.minus(&removed);
    }
    let mut entry = Entry::of(writer, true, mine);
    if let Some(was) = last.first()
        && last.len() == 1
        && set.is_empty()
        && removed.is_empty()
        && was.fields == entry.fields
    {
        entry.time.clone_from(&was.time);
    }
    others.push(entry);
    write(&mut merged, others);
    Ok(merged)
}

/// The fields `kubectl apply` set before it applied in the server, and that nobody changed since:
/// kubectl may take them over from itself.
fn last_applied(live: &Value, shape: &Shape<'_>) -> Fields {
    let annotation = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let Some(last) = annotation.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Fields::default();
    };
    let changes = compare(&last, live, shape);
    owned(fields_of(&last, shape))
        .minus(&changes.set)
        .minus(&changes.removed)
}

/// Refuses, or with `force` takes over, what others own and the apply changes. `upgraded` is
/// taken over either way.
fn settle(
    others: &mut [Entry],
    set: &Fields,
    upgraded: &Fields,
    force: bool,
) -> Result<(), ApiError> {
    let mut conflicts = Vec::new();
    for entry in others.iter_mut() {
        let contested = entry.fields.both(set);
        if contested.is_empty() {
            continue;
        }
        if force || contested.minus(upgraded).is_empty() {
            entry.fields = entry.fields.minus(&contested);
        } else {
            conflicts.push((entry.printed(), contested.paths()));
        }
    }
    if conflicts.is_empty() {
        Ok(())
    } else {
        Err(conflict(conflicts))
    }
}

fn conflict(mut conflicts: Vec<(String, Vec<String>)>) -> ApiError {
    conflicts.sort();
    let cause = |manager: &str, field: &str| Cause {
        reason: "FieldManagerConflict",
        message: format!("conflict with {manager}"),
        field: field.to_owned(),
    };
    let causes: Vec<Cause> = conflicts
        .iter()
        .flat_map(|(manager, fields)| fields.iter().map(move |f| cause(manager, f)))
        .collect();
    let message = match (conflicts.as_slice(), causes.as_slice()) {
        ([(manager, _)], [one]) => {
            format!(
                "Apply failed with 1 conflict: conflict with {manager}: {}",
                one.field
            )
        }
        _ => {
            let mut lines = Vec::new();
            for (manager, fields) in &conflicts {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(fields.iter().map(|f| format!("- {f}")));
            }
            format!(
                "Apply failed with {} conflicts: {}",
                causes.len(),
                lines.join("\n")
            )
        }
    };
    ApiError::apply_conflict(message, causes)
}
