//! The user's cache folder: measurements of this machine. A lost file costs only time.

use std::path::PathBuf;

use anyhow::Context;

use crate::atomic::write_atomically;

/// The folder: `WNINIT_CACHE`, or the folder `wninit` in `XDG_CACHE_HOME` or in `~/.cache`.
pub fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("WNINIT_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("wninit")))
        .or_else(|| Some(set("HOME")?.join(".cache/wninit")))
}

/// A file's contents, if it can be read.
pub fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(folder()?.join(name)).ok()
}

/// Writes a file atomically.
///
/// # Errors
/// If there is no such folder, or it cannot be written.
pub fn write(name: &str, text: &str) -> anyhow::Result<()> {
    let folder = folder()
        .context("no folder to keep measurements in: set WNINIT_CACHE, XDG_CACHE_HOME or HOME")?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(write_atomically(&folder.join(name), text.as_bytes())?)
}

/// A device's name as a part of a file name.
pub fn file_name(device: &str) -> String {
    let part = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    device.chars().map(part).collect()
}
