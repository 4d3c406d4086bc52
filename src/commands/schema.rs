//! `wninit schema`: the grid format as a JSON schema.

use wninit_core::console::print;
use wninit_core::grid::json_schema;

/// # Errors
/// If the output cannot be written.
pub fn run() -> anyhow::Result<u8> {
    print(&format!("{:#}\n", json_schema()))?;
    Ok(0)
}
