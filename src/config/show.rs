//! Settings in force, printed: each with its value, its unit, and where it came from.

use std::fmt::Write as _;

use super::layers::{Loaded, Source};
use super::names::{Described, described};
use super::{ConfigError, ROOT_TOKEN, Size};

/// How settings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table to look at.
    Text,
    /// An array of objects.
    Json,
    /// A settings file that says the same.
    Toml,
}

/// Stands for what is not shown.
const REDACTED: &str = "(redacted)";

struct Row {
    setting: Described,
    /// `None` when it is not set and has no default.
    value: Option<toml::Value>,
    source: Source,
}

impl Loaded {
    /// Prints the settings in force. No secret is among them: settings name files that hold one,
    /// and a root token from the environment is only said to be there.
    ///
    /// * Errors: a path that is no UTF-8.
    pub fn print(&self, form: Form) -> Result<String, ConfigError> {
        let rows = self.rows()?;
        let root = self.sources.get(ROOT_TOKEN);
        Ok(match form {
            Form::Text => text(&rows, root),
            Form::Json => json(&rows, root),
            Form::Toml => toml_text(&rows, root),
        })
    }

    fn rows(&self) -> Result<Vec<Row>, ConfigError> {
        let mut values = self.settings.to_given().table()?;
        let row = |setting: Described| {
            let value = values.remove(&setting.name);
            let source = self.sources.get(&setting.name).cloned().unwrap_or(Source::Default);
            Row { setting, value, source }
        };
        Ok(described().into_iter().map(row).collect())
    }
}

fn text(rows: &[Row], root: Option<&Source>) -> String {
    let shown = |row: &Row| match (&row.value, row.setting.unit.as_str()) {
        (None, _) => "(not set)".to_owned(),
        (Some(toml::Value::Integer(number)), "BYTES") => {
            let size = u64::try_from(*number).map(|bytes| Size(bytes).to_string());
            size.unwrap_or_else(|_| number.to_string())
        }
        (Some(toml::Value::String(text)), _) => text.clone(),
        (Some(value), _) => value.to_string(),
    };
    let mut lines: Vec<[String; 4]> = Vec::new();
    for row in rows {
        let Described { name, unit, .. } = &row.setting;
        lines.push([name.clone(), shown(row), unit.clone(), row.source.to_string()]);
    }
    if let Some(source) = root {
        let line = [ROOT_TOKEN, REDACTED, ""].map(str::to_owned);
        let [name, value, unit] = line;
        lines.push([name, value, unit, source.to_string()]);
    }
    let heads = ["setting", "value", "unit", "from"].map(str::to_owned);
    lines.insert(0, heads);
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut out = String::new();
    for [name, value, unit, source] in &lines {
        let [a, b, c] = widths;
        let line = format!("{name:a$}  {value:b$}  {unit:c$}  {source}");
        let _infallible = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn json(rows: &[Row], root: Option<&Source>) -> String {
    let source = |source: &Source| match source {
        Source::Flag(name) => serde_json::json!({ "kind": "flag", "name": name }),
        Source::Environment(name) => serde_json::json!({ "kind": "environment", "name": name }),
        Source::File(path) => serde_json::json!({ "kind": "file", "name": path.to_string_lossy() }),
        Source::Default => serde_json::json!({ "kind": "default", "name": null }),
    };
    let unit = |unit: &str| (!unit.is_empty()).then(|| unit.to_owned());
    let mut list: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "name": row.setting.name,
                "value": row.value,
                "unit": unit(&row.setting.unit),
                "source": source(&row.source),
            })
        })
        .collect();
    list.extend(root.map(|from| {
        serde_json::json!({
            "name": ROOT_TOKEN, "value": REDACTED, "unit": null, "source": source(from),
        })
    }));
    format!("{:#}\n", serde_json::Value::Array(list))
}

fn toml_text(rows: &[Row], root: Option<&Source>) -> String {
    let mut out = String::from("# Settings in force. This is a settings file: see --config.\n");
    for row in rows {
        let (name, source) = (&row.setting.name, &row.source);
        let _infallible = match &row.value {
            Some(value) => writeln!(out, "{name} = {value} # {source}"),
            None => writeln!(out, "# {name} is not set"),
        };
    }
    if let Some(source) = root {
        let _infallible = writeln!(out, "# {ROOT_TOKEN} {REDACTED}: {source}");
    }
    out
}
