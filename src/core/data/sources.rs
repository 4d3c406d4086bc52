//! Where data sets are read from: the data folder, and the paths of users' files.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{DataError, Loaded, load, read_own};
use crate::job::{DataHash, Dataset, Job};
use crate::usage::usage;

/// Where data sets are read from.
#[derive(Debug)]
pub struct Sources {
    /// The data folder.
    dir: PathBuf,
    /// The paths of users' files, by what is in them.
    files: Vec<(DataHash, PathBuf)>,
    /// What [`Sources::check`] has read, for the first [`Sources::load`].
    read: Mutex<HashMap<Dataset, Loaded>>,
}

impl From<PathBuf> for Sources {
    fn from(dir: PathBuf) -> Sources {
        Sources::new(dir, Vec::new())
    }
}

impl Sources {
    /// A data folder, and the paths of users' files. A file that has moved is also found in the data
    /// folder, by its name.
    pub fn new(dir: PathBuf, files: Vec<(DataHash, PathBuf)>) -> Sources {
        Sources { dir, files, read: Mutex::default() }
    }

    /// Reads the users' files among the data sets of jobs, so that a file that is missing or has
    /// changed is found before anything runs.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn check<'j>(&self, jobs: impl IntoIterator<Item = &'j Job>) -> Result<(), DataError> {
        for job in jobs {
            let dataset = job.dataset;
            let mut read = self.read();
            if let Dataset::File { hash, .. } = dataset
                && !read.contains_key(&dataset)
            {
                read.insert(dataset, self.own(dataset, hash)?);
            }
        }
        Ok(())
    }

    /// Reads every data set of jobs once, before anything runs: what is missing or damaged is a usage
    /// error, and not a failure of each job.
    ///
    /// # Errors
    /// [`UsageError`](crate::usage::UsageError).
    pub fn checked<'j>(self, jobs: impl IntoIterator<Item = &'j Job>) -> anyhow::Result<Sources> {
        let datasets: HashSet<Dataset> = jobs.into_iter().map(|job| job.dataset).collect();
        for dataset in datasets {
            let loaded = self.load(dataset).map_err(|error| usage(error.to_string()))?;
            self.read().insert(dataset, loaded);
        }
        Ok(self)
    }

    /// Reads a data set.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn load(&self, dataset: Dataset) -> Result<Loaded, DataError> {
        let read = self.read().remove(&dataset);
        match (read, dataset) {
            (Some(read), _) => Ok(read),
            (None, Dataset::File { hash, .. }) => self.own(dataset, hash),
            (None, _) => load(dataset, &self.dir).map(Loaded::Bytes),
        }
    }

    fn read(&self) -> MutexGuard<'_, HashMap<Dataset, Loaded>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, dataset: Dataset, hash: DataHash) -> Result<Loaded, DataError> {
        let known = self.files.iter().find(|(known, _)| *known == hash);
        let Some((_, path)) = known else {
            return Err(DataError::own(format!(
                "it is not known which file has the content {hash}; name it with --set path=FILE, or with path \
                 in the grid"
            )));
        };
        let moved = path.file_name().map(|name| self.dir.join(name));
        let found = [Some(path.clone()), moved].into_iter().flatten().find(|path| path.exists());
        let Some(found) = found else {
            return Err(DataError::own(format!(
                "{} is missing (also looked in {}); put it back, or name the folder that holds it with --data DIR",
                path.display(),
                self.dir.display()
            )));
        };
        let loaded = read_own(&found).map_err(DataError::own)?;
        match loaded.dataset() {
            same if same == dataset => Ok(loaded),
            Dataset::File { hash: now, .. } if now != hash => Err(DataError::own(format!(
                "{} has changed: jobs were planned with the content {hash}, and it is {now} now; put the old \
                 file back, or name the new one in a grid of another name",
                found.display()
            ))),
            _ => Err(DataError::own(format!(
                "{}: the fields data_… of the grid are not those of the file; leave them out",
                found.display()
            ))),
        }
    }
}
