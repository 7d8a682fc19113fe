//! How commands print: manifests for `kubectl apply -f -`, and data as table, JSON or YAML.

use anyhow::Context as _;
use serde_json::Value;
use std::io::Write as _;

/// Format of manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ManifestFormat {
    /// A stream of YAML documents
    #[default]
    Yaml,
    /// One JSON document a line
    Json,
}

/// Format of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DataFormat {
    /// Columns for people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// Prints manifests to standard output.
pub(crate) fn manifests(documents: &[Value], format: ManifestFormat) -> anyhow::Result<()> {
    let text = match format {
        ManifestFormat::Yaml => mesh_injector::manifest::render(documents)?,
        ManifestFormat::Json => {
            let mut text = String::new();
            for document in documents {
                text.push_str(&serde_json::to_string(document)?);
                text.push('\n');
            }
            text
        }
    };
    self::text(&text)
}

/// Prints `value`, or for a table its `rows` under `header`.
pub(crate) fn data(
    format: DataFormat,
    value: &impl serde::Serialize,
    header: &[&str],
    rows: &[Vec<String>],
) -> anyhow::Result<()> {
    let text = match format {
        DataFormat::Table => table(header, rows),
        DataFormat::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
        DataFormat::Yaml => {
            serde_saphyr::to_string(&serde_json::to_value(value)?).context("cannot write YAML")?
        }
    };
    self::text(&text)
}

/// Left-aligned columns, two spaces apart, as kubectl prints them.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// The error and its causes, each said once: many repeat what the next one says.
pub(crate) fn said_once(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

/// Writes a line to standard error. Where nobody reads it any more there is nobody to tell.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["east".to_owned(), "True".to_owned()],
            vec!["n".into(), "-".into()],
        ];
        assert_eq!(
            table(&["CLUSTER", "ALIVE"], &rows),
            "CLUSTER  ALIVE\neast     True\nn        -\n"
        );
    }
}
