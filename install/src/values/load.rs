//! Files and settings, laid over the defaults in Helm's order.

use super::{set, types::Values};
use anyhow::Context as _;
use mesh_injector::merge;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Helm's flags for values.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ValuesArgs {
    /// Set values: KEY=VALUE, where KEY is a dotted path (may be repeated, commas separate)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Set values that are text whatever they look like
    #[arg(long = "set-string", value_name = "KEY=VALUE")]
    pub set_string: Vec<String>,

    /// Set values to what files hold
    #[arg(long = "set-file", value_name = "KEY=FILE")]
    pub set_file: Vec<String>,

    /// Read values from a YAML file (may be repeated; later files win, --set wins over files)
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Values for what survives the loss of a node: three replicas, spread
    #[arg(long)]
    pub ha: bool,
}

/// The values of a chart.
pub trait ChartValues: Default + Serialize + DeserializeOwned {
    /// Those of an installation that survives the loss of a node, as the chart's `values-ha.yaml`.
    fn ha() -> Value;
}

/// Values, and what was given of them.
#[derive(Clone, Debug)]
pub struct Loaded<V = Values> {
    /// All values.
    pub values: V,
    /// Only those that were given; an upgrade lays them over the new defaults.
    pub given: Value,
    /// Keys that nothing reads.
    pub unknown: Vec<String>,
}

/// The defaults with `earlier` (what an installation was given before), files, settings and
/// `flags` (what flags of their own set) laid over them. Unknown keys are no error, so that a Helm
/// user's values file still installs.
pub fn load<V: ChartValues>(
    args: &ValuesArgs,
    earlier: Value,
    flags: Value,
) -> anyhow::Result<Loaded<V>> {
    let mut given = json!({});
    if args.ha {
        merge(&mut given, V::ha());
    }
    merge(&mut given, earlier);
    for file in &args.files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the values file {}", file.display()))?;
        let value: Value = serde_saphyr::from_str(&text)
            .with_context(|| format!("the values file {} is not YAML", file.display()))?;
        if !value.is_null() {
            merge(&mut given, value);
        }
    }
    for setting in &args.set {
        set::apply(&mut given, setting, true).with_context(|| format!("--set {setting}"))?;
    }
    for setting in &args.set_string {
        set::apply(&mut given, setting, false)
            .with_context(|| format!("--set-string {setting}"))?;
    }
    for setting in &args.set_file {
        set_file(&mut given, setting).with_context(|| format!("--set-file {setting}"))?;
    }
    merge(&mut given, flags);
    // Values of Linkerd before 2.9 stood below `global`.
    if let Some(global) = given.as_object_mut().and_then(|all| all.remove("global")) {
        merge(&mut given, global);
    }
    let defaults = serde_json::to_value(V::default())?;
    let mut merged = defaults.clone();
    merge(&mut merged, given.clone());
    take_away(&mut merged);
    let unknown = unknown_keys(&defaults, &merged, "");
    Ok(Loaded {
        values: serde_json::from_value(merged).context("a value has the wrong type")?,
        given,
        unknown,
    })
}

fn set_file(values: &mut Value, setting: &str) -> anyhow::Result<()> {
    let (path, file) = setting.split_once('=').context("it is not KEY=FILE")?;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    set::put_text(values, path, &text)
}

/// Null takes a default away.
fn take_away(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(take_away);
    }
}

/// Values as `linkerd-config` holds them, whoever wrote them there.
pub fn read(text: &str) -> anyhow::Result<Values> {
    let given: Value = serde_saphyr::from_str(text)?;
    let mut merged = serde_json::to_value(Values::default())?;
    merge(&mut merged, given);
    Ok(serde_json::from_value(merged)?)
}

/// Paths of `given` that `known` lacks. What is an empty map by default takes any key.
pub fn unknown_keys(known: &Value, given: &Value, prefix: &str) -> Vec<String> {
    let (Some(known), Some(given)) = (known.as_object(), given.as_object()) else {
        return Vec::new();
    };
    let open = known.is_empty() || known.keys().any(|key| key.contains('/'));
    if open && !prefix.is_empty() {
        return Vec::new();
    }
    given
        .iter()
        .flat_map(|(key, value)| {
            let path = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            match known.get(key) {
                Some(known) => unknown_keys(known, value, &path),
                None => vec![path],
            }
        })
        .collect()
}
