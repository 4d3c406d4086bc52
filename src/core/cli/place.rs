//! GRID or DIR: the sweep that a word on the command line means. Every command takes either, and
//! this is where they are told apart.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::grid::{Grid, Overrides};
use crate::results::PLAN;
use crate::usage::usage;

/// The default of `--results`.
const RESULTS: &str = "results";

/// `--results ROOT`: where the sweeps' folders are.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Root {
    /// Where results are kept; a sweep has the folder ROOT/NAME [default: results]
    #[arg(long = "results", value_name = "ROOT", help_heading = "Results and data")]
    given: Option<PathBuf>,
}

/// What a word on the command line is.
enum Word {
    GridFile,
    Folder,
}

impl Root {
    /// The folder of all sweeps.
    pub fn path(&self) -> &Path {
        self.given.as_deref().unwrap_or(Path::new(RESULTS))
    }

    /// The grid that a GRID or DIR means, with the command line's changes, and the folder of the
    /// sweep's results: ROOT/NAME for a grid file, and DIR itself for a sweep's folder.
    ///
    /// # Errors
    /// There is neither, the folder has another name than its sweep, or the grid is invalid.
    pub fn grid(&self, word: &Path, overrides: &Overrides) -> anyhow::Result<(Grid, PathBuf)> {
        if let Word::GridFile = self.kind(word)? {
            let grid = Grid::load(word, overrides)?;
            let dir = self.path().join(&grid.name);
            return Ok((grid, dir));
        }
        self.refuse_root(word)?;
        let file = word.join("grid.toml");
        if !file.is_file() {
            return Err(usage(format!(
                "the folder {} holds no grid.toml: expected {EITHER}",
                word.display()
            )));
        }
        let grid = Grid::load(&file, overrides)?;
        let named = |path: &Path| path.file_name().is_some_and(|name| name == grid.name.as_str());
        if named(word) {
            return Ok((grid, word.to_owned()));
        }
        // `.`, `..`, or a link.
        match std::fs::canonicalize(word) {
            Ok(full) if named(&full) => Ok((grid, full)),
            _ => Err(usage(format!(
                "the folder {} has another name than its sweep, \"{}\", so results would not stay in it: \
                 rename the folder, or name the grid {} and, with --results, where its results are kept",
                word.display(),
                grid.name,
                file.display()
            ))),
        }
    }

    /// The folder of results that a GRID or DIR means, for a command that reads them. A grid in a
    /// sweep's folder, `results/depth/grid.toml`, means that folder.
    ///
    /// # Errors
    /// There is neither, the grid is invalid, or there are no results of it.
    pub fn folder(&self, word: &Path) -> anyhow::Result<PathBuf> {
        if let Word::Folder = self.kind(word)? {
            self.refuse_root(word)?;
            return Ok(word.to_owned());
        }
        self.of_grid(word)
    }

    /// As [`Root::folder`], for a command in which `--results` means where a new sweep goes.
    ///
    /// # Errors
    /// As [`Root::folder`].
    pub fn source(&self, word: &Path) -> anyhow::Result<PathBuf> {
        match self.kind(word)? {
            Word::Folder => Ok(word.to_owned()),
            Word::GridFile => self.of_grid(word),
        }
    }

    fn of_grid(&self, file: &Path) -> anyhow::Result<PathBuf> {
        if let Some(parent) = file.parent().filter(|parent| parent.join(PLAN).exists()) {
            return Ok(parent.to_owned());
        }
        let grid = Grid::load(file, &Overrides::default())?;
        let dir = self.path().join(&grid.name);
        if !dir.is_dir() {
            return Err(usage(format!(
                "the sweep of {} has no results: there is no folder {}; `wninit run {}` makes it, and --results \
                 names another place",
                file.display(),
                dir.display(),
                file.display()
            )));
        }
        Ok(dir)
    }

    fn kind(&self, word: &Path) -> anyhow::Result<Word> {
        match std::fs::metadata(word) {
            Ok(found) if found.is_dir() => Ok(Word::Folder),
            Ok(_) => Ok(Word::GridFile),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let hint = match self.path().join(word) {
                    sweep if sweep.is_dir() => format!("; did you mean {}?", sweep.display()),
                    _ => String::new(),
                };
                Err(usage(format!("there is no {}: expected {EITHER}{hint}", word.display())))
            }
            Err(error) => Err(usage(format!("cannot read {}: {error}", word.display()))),
        }
    }

    /// The results of a folder's sweep are in that folder.
    fn refuse_root(&self, word: &Path) -> anyhow::Result<()> {
        match &self.given {
            None => Ok(()),
            Some(root) => Err(usage(format!(
                "--results {} is for a grid file: {} is a sweep's folder, and its results stay in it",
                root.display(),
                word.display()
            ))),
        }
    }
}

/// What a command expects.
const EITHER: &str =
    "a grid file, such as sweeps/quick.toml, or a sweep's folder, such as results/quick";
