//! `wninit verify`: trains finished jobs again and compares the results with their rows.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared_out::shared_out;
use crate::train::Libtorch;
use crate::{device, ffi};
use wninit_core::cli::json;
use wninit_core::cli::verify::{Agreement, Args, Difference, Verified, VerifiedJob};
use wninit_core::console::{self, warn};
use wninit_core::data::{self, Sources};
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::JobId;
use wninit_core::plan::cohort::Cohort;
use wninit_core::results::{
    EpochRow, Outcome, Provenance, Record, differences, hostname, one_line, processor, read_epochs,
    read_runs,
};
use wninit_core::rng;
use wninit_core::run::interrupt::{self, EXIT_INTERRUPTED};
use wninit_core::run::pool::EXIT_UNFINISHED;
use wninit_core::run::trainer::{Event, Stop, Trainer};
use wninit_core::usage::{UsageError, usage};

/// The outcome of training a job again.
enum Comparison {
    Equal,
    /// Differences that another machine explains.
    Close(Vec<Difference>),
    Different(Vec<Difference>),
    /// Why it could not be trained.
    NotChecked(String),
    Interrupted,
}

fn difference(name: &str, column: String, row: String, again: String) -> Difference {
    let close = cells_are_close(name, &row, &again);
    Difference { column, row, again, close }
}

/// Trains the jobs named on the command line, or a random sample, and prints the comparison with each
/// row. The exit code is 1 if a job is different, 3 if one could not be trained, 130 after Ctrl-C.
///
/// # Errors
/// The folder has no finished job or lacks the named one, or its files cannot be read.
pub(crate) fn run(args: &Args, commit: &'static str) -> anyhow::Result<u8> {
    let dir = args.results.folder(&args.dir)?;
    let runs = read_runs(&dir)?;
    warn(&runs.warnings);
    warn(&runs.conflicts);
    let finished = runs.records.len();
    let mut rows = chosen(runs.records, args, &dir)?;
    let mut curves = read_epochs(&dir)?;
    for row in &mut rows {
        row.epochs = curves.remove(&row.job.id()).unwrap_or_default();
    }
    let devices =
        device::workers(&args.device, args.workers.map(usize::from)).map_err(UsageError)?;
    let (workers, device) = (devices.len(), device::label(devices[0]));
    let stop = interrupt::install()?;
    let data = args.data.clone().unwrap_or_else(data::default_dir);
    let grid = Grid::load(&dir.join("grid.toml"), &Overrides::default());
    let files = grid.map(|grid| grid.files).unwrap_or_default();
    let sources = Sources::new(data, files).checked(rows.iter().map(|row| &row.job))?;
    let trainer = Libtorch::new(devices, sources, Arc::clone(&stop), commit);

    let mut verified = Verified {
        folder: dir.display().to_string(),
        finished,
        chosen: rows.len(),
        ..Verified::default()
    };
    let mut printed = Ok(());
    let mut print = |text: &str| {
        if args.json.json {
            return;
        }
        if printed.is_ok() {
            printed = console::print(text);
        }
        if printed.is_err() {
            stop.store(true, Ordering::Relaxed); // the rest would not be seen
        }
    };
    let again = |worker, row: Record| {
        let comparison = retrain(&trainer, worker, &row);
        (row, comparison)
    };
    shared_out(rows, workers, &stop, again, |(row, comparison)| {
        let (count, outcome, differences, note) = match comparison {
            Comparison::Interrupted => return true,
            Comparison::Equal => (&mut verified.equal, Agreement::Equal, Vec::new(), None),
            Comparison::Close(list) => (&mut verified.close, Agreement::Close, list, None),
            Comparison::Different(list) => {
                let advice = Some(advice(&row, &device, commit));
                (&mut verified.different, Agreement::Different, list, advice)
            }
            Comparison::NotChecked(reason) => {
                (&mut verified.not_checked, Agreement::NotChecked, Vec::new(), Some(reason))
            }
        };
        *count += 1;
        let job = VerifiedJob { job_id: row.job.id().to_string(), outcome, differences, note };
        print(&in_words(&job));
        verified.jobs.push(job);
        true
    });
    let Verified { chosen, equal, close, different, not_checked, .. } = verified;
    let checked = equal + close + different;
    print(&format!(
        "{checked} of {finished} finished jobs trained again: {equal} equal, {close} close, {different} different; \
         {not_checked} could not be checked\n"
    ));
    printed?;
    if args.json.json {
        json::print(&verified)?;
    }
    Ok(match () {
        () if different > 0 => 1,
        () if checked + not_checked < chosen => EXIT_INTERRUPTED,
        () if not_checked > 0 => EXIT_UNFINISHED,
        () => 0,
    })
}

fn chosen(records: Vec<Record>, args: &Args, dir: &Path) -> anyhow::Result<Vec<Record>> {
    let dir = dir.display();
    if records.is_empty() {
        return Err(usage(format!(
            "{dir} holds no finished job; it must be a sweep's folder, such as results/depth"
        )));
    }
    if args.job.is_empty() {
        let order = rng::permutation(records.len(), &mut rng::stream(args.seed, "verify", 0));
        let mut places: Vec<u32> = order.into_iter().take(args.sample).collect();
        places.sort_unstable();
        return Ok(places.into_iter().map(|i| records[i as usize].clone()).collect());
    }
    let mut by_id: HashMap<JobId, Record> = records.into_iter().map(|r| (r.job.id(), r)).collect();
    let find = |id: &JobId| {
        by_id.remove(id).ok_or_else(|| {
            usage(format!("--job {id}: {dir} has no row of it (or it is named twice); `wninit status {dir}` shows the finished jobs"))
        })
    };
    args.job.iter().map(find).collect()
}

/// Trains a job alone, from its start.
fn retrain(trainer: &Libtorch, worker: usize, row: &Record) -> Comparison {
    let mut again = None;
    let mut event = |event| {
        if let Event::Finished(record) = event {
            again = Some(record);
        }
    };
    match trainer.train(worker, &Cohort::new(vec![row.job.clone()]), &mut event) {
        Ok(()) => {}
        Err(Stop::Interrupted) => return Comparison::Interrupted,
        Err(Stop::Failed { reason, error }) => {
            return Comparison::NotChecked(format!("{reason}: {}", one_line(&error)));
        }
    }
    match again {
        Some(again) => compare(row, &again),
        None => Comparison::NotChecked("a bug: the trainer returned no result".to_owned()),
    }
}

fn compare(row: &Record, again: &Record) -> Comparison {
    let list = all_differences(row, again);
    if list.is_empty() {
        Comparison::Equal
    } else if made_elsewhere(row, again) && list.iter().all(|difference| difference.close) {
        Comparison::Close(list)
    } else {
        Comparison::Different(list)
    }
}

/// Whether the last digits may differ: only the same processor, with the same instructions, and the
/// same version of the program sum in the same order.
fn made_elsewhere(row: &Record, again: &Record) -> bool {
    let place = |record: &Record| {
        let Provenance { device, libtorch, hostname, git_sha, .. } = record.provenance.clone();
        (device, libtorch, hostname, git_sha)
    };
    let device = &row.provenance.device;
    place(row) != place(again) || device != "cpu" || other_processor(&row.provenance)
}

/// Whether it names another processor than this one, or another instruction set than this process
/// uses; early versions name neither.
fn other_processor(made: &Provenance) -> bool {
    made.processor.is_some() && made.processor != processor()
        || made.instruction_set.as_ref().is_some_and(|set| *set != ffi::instruction_set())
}

fn all_differences(row: &Record, again: &Record) -> Vec<Difference> {
    // Versions before those that test a diverged job with its best epoch left these cells empty.
    let untested = row.outcome == Outcome::Diverged
        && row.test_acc.is_none()
        && row.provenance.git_sha != again.provenance.git_sha;
    let mut list: Vec<Difference> = differences(row, again)
        .into_iter()
        .filter(|(column, ..)| !(untested && ["test_loss", "test_acc"].contains(column)))
        .map(|(column, row, again)| difference(column, column.to_owned(), row, again))
        .collect();
    if row.epochs.len() != row.epochs_done as usize {
        let [row, again] = [row, again].map(|record| record.epochs.len().to_string());
        let column = "rows in epochs.csv".to_owned();
        list.push(Difference { column, row, again, close: false });
    }
    // If a job diverges one epoch earlier, one epoch is missing.
    for (row, again) in row.epochs.iter().zip(&again.epochs) {
        let values = |e: &EpochRow| {
            [f64::from(e.epoch), e.lr, e.train_loss, e.train_acc, e.val_loss, e.val_acc]
        };
        let names = ["epoch", "lr", "train_loss", "train_acc", "val_loss", "val_acc"];
        for (name, (a, b)) in names.into_iter().zip(values(row).into_iter().zip(values(again))) {
            // NaN is an empty cell; two of them are equal.
            if a != b && !(a.is_nan() && b.is_nan()) {
                let column = format!("{name} of epoch {}", again.epoch);
                list.push(difference(name, column, a.to_string(), b.to_string()));
            }
        }
    }
    list
}

/// Whether another machine explains such a difference; as documented in `wninit verify --help`.
fn cells_are_close(column: &str, a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else {
        return false;
    };
    let apart = (a - b).abs();
    match column {
        "diverged_step" => true, // diverged_epoch decides
        "best_epoch" => true,    // best_val_acc decides
        "epochs_done" | "diverged_epoch" => apart <= 1.0,
        _ if column.ends_with("_acc") => apart <= 0.02,
        _ if column.ends_with("_loss") => apart <= 0.02_f64.max(0.05 * a.abs().max(b.abs())),
        _ => false,
    }
}

/// A job's line, the lines of its differences, and what they mean.
fn in_words(job: &VerifiedJob) -> String {
    let note = job.note.as_deref().map(|note| format!("  {note}")).unwrap_or_default();
    let after = if job.differences.is_empty() {
        note + "\n"
    } else {
        let note = if note.is_empty() { note } else { note + "\n" };
        format!("\n{}{note}", listed(&job.differences))
    };
    format!("{:<13}{}{after}", job.outcome.words(), job.job_id)
}

/// A line for each difference, at most 12.
fn listed(list: &[Difference]) -> String {
    const LONGEST: usize = 12;
    let mut text = String::new();
    for Difference { column, row, again, .. } in list.iter().take(LONGEST) {
        let cell =
            |cell: &str| if cell.is_empty() { "(empty)".to_owned() } else { cell.to_owned() };
        text += &format!("  {column:<24} row {:<22} again {}\n", cell(row), cell(again));
    }
    if list.len() > LONGEST {
        text += &format!("  and {} more\n", list.len() - LONGEST);
    }
    text
}

/// Explains a difference to the user.
fn advice(row: &Record, device: &str, commit: &str) -> String {
    let made = &row.provenance;
    let here = hostname();
    let elsewhere = made.device != device || made.hostname != here;
    if elsewhere || made.libtorch != ffi::LIBTORCH || other_processor(made) {
        let words = |processor: Option<&str>, instructions: Option<&str>| {
            let [processor, instructions] =
                [processor, instructions].map(|x| x.unwrap_or("unknown"));
            format!("processor {processor} and instruction set {instructions}")
        };
        return format!(
            "the row was made on {} of {} with libtorch {}, {}, this on {device} of {here} with {}, {}; a \
             difference is conclusive only on the same processor with the same instructions",
            made.device,
            made.hostname,
            made.libtorch,
            words(made.processor.as_deref(), made.instruction_set.as_deref()),
            ffi::LIBTORCH,
            words(processor().as_deref(), Some(&ffi::instruction_set()))
        );
    }
    let outcome = if row.outcome == Outcome::Ok { "its results" } else { "its divergence" };
    if made.git_sha == commit {
        format!(
            "the same program on the same machine: the row was edited, or {outcome} cannot be reproduced. To train the job again, delete its line and run the sweep"
        )
    } else {
        format!(
            "the row was made by commit {}, this is {commit}: the row was edited, the program has changed since, or another processor had this host's name",
            made.git_sha
        )
    }
}
