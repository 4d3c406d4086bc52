//! `--json`: one documented object on standard output. The structs that are printed say what their
//! fields mean, and the schemas and the tables of `docs/commands.md` come from them.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use crate::console;

/// `--json`.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct JsonArgs {
    /// Print one JSON object (`wninit schema COMMAND` describes it)
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Prints an object. A number that is not finite is null.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(object: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(object)?;
    // Unescaped: JSON has its own escapes.
    Ok(console::print_raw(format!("{text}\n").as_bytes())?)
}

/// The schema of an object, draft 2020-12.
pub fn schema<T: JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
