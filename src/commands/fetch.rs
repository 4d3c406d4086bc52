//! `wninit fetch`: a data set's files into the data folder.

use std::path::PathBuf;

use crate::data;
use crate::data::fetch::{self, Fetched, Options};
use crate::job::DatasetName;

/// Get a data set: checked, and placed only when it is complete
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Sources are tried in this order until one has what its checksum says: --source, \
WNINIT_SOURCES, an installed Debian package, the data set's own servers, and a Debian package from \
apt's mirror (fashion-mnist; nobody has to be root).")]
pub struct Args {
    /// fashion-mnist, mnist, cifar10 or cifar100 (digits and synthetic need no files)
    pub dataset: DatasetName,

    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// A mirror to try first: the URL (http, https, file) or the path of a folder that holds the
    /// files; may be given several times
    #[arg(long, value_name = "URL")]
    pub source: Vec<String>,

    /// Fetch even if the data set is there and complete
    #[arg(long)]
    pub force: bool,
}

/// Runs the command; the exit code is 0.
///
/// # Errors
/// If no source could be used or the data folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let dir = args.data.clone().unwrap_or_else(data::default_dir);
    let mut options = Options::new(&dir);
    options.sources.clone_from(&args.source);
    let further = std::env::var(fetch::SOURCES_VARIABLE).unwrap_or_default();
    options
        .sources
        .extend(further.split_whitespace().map(str::to_owned));
    options.force = args.force;
    match fetch::fetch(args.dataset, &options)? {
        Fetched::NothingToFetch => {
            println!("{}: nothing to fetch, the program brings it", args.dataset)
        }
        Fetched::AlreadyThere => println!(
            "{}: already there and complete, in {}",
            args.dataset,
            dir.display()
        ),
        Fetched::New { folder, sources } => {
            println!(
                "{}: fetched into {} from {}",
                args.dataset,
                folder.display(),
                sources.join(", ")
            );
        }
    }
    Ok(0)
}
