//! `wninit confirm`: a new sweep with fresh seeds, at the learning rates chosen in an exploratory
//! one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::parser::ValueSource;
use clap::{Args as _, CommandFactory as _};

use super::summary::Folder;
use super::{Cli, plan};
use wninit_core::cli::run::Options;
use wninit_core::cli::{Globals, become_wninit_torch_with};
use wninit_core::console::{self, say, warn};
use wninit_core::fmt::{plural, significant};
use wninit_core::grid::{Chosen, Explored, FreshSeeds, Grid, Overrides};
use wninit_core::job::{Job, JobId, Value};
use wninit_core::plan::Plan;
use wninit_core::plan::speed::Speeds;
use wninit_core::results::{finished_ids, holder};
use wninit_core::run::sweep;
use wninit_core::text_table::{Heading, Style, TextColumn, TextTable};
use wninit_core::usage::{UsageError, usage};
use wninit_stats::summary::{self, Choice, Edge};
use wninit_stats::verdict::CONFIRMING;

/// Test an exploratory sweep's claims on fresh seeds, each setting at its learning rate chosen on
/// validation
///
/// Writes the grid of a new sweep, ROOT/NAME-confirm/grid.toml, trains it as `wninit run` does, and
/// prints its summary. Runs that chose the learning rates do not count in the verdicts.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
For each setting (everything that varies except learning rate and seeds) the learning rate with the
best mean validation accuracy is chosen. A diverged run counts as a guess. A rate with fewer finished
seeds than another one is refused. Of equal rates the smaller one is chosen; if none trains, the
smallest. If a claim names its learning rate, its cells are also trained at that rate.
ROOT/NAME-confirm/grid.toml is an ordinary grid with the choices under [explored]: `wninit plan`,
`run` and `slurm` accept it. The exit code is that of `wninit run`.

Examples:
  wninit confirm results/depth --dry-run
  wninit confirm results/depth --seeds 10")]
pub struct Args {
    /// The folder of the exploratory sweep, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub explored: PathBuf,
    /// Fresh seeds for each setting; fewer than 6 are exploratory
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
    pub seeds: u32,
    /// Name of the new sweep [default: the old name with -confirm]
    #[arg(long)]
    pub name: Option<String>,
    /// Print the choices and the plan, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the grid, and train nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub plan_only: bool,
    #[command(flatten)]
    pub run: Options,
}

/// Writes the grid and replaces the process with `wninit-torch run`.
///
/// # Errors
/// The folder is not an exploratory sweep's, nothing can be chosen, the target folder has rows of
/// another confirmation, or a file cannot be written.
pub fn run(args: &Args, globals: &Globals) -> anyhow::Result<u8> {
    let dir = args.run.results.source(&args.explored)?;
    let folder = Folder::read(&dir).map_err(UsageError)?;
    let Some(explored) = &folder.grid else {
        let why =
            format!("{} has no grid to confirm: {}", dir.display(), folder.warnings.join("; "));
        return Err(usage(why));
    };
    let finish = format!("wninit run {}", dir.join("grid.toml").display());
    let choices = summary::choices(&folder.input(None)).map_err(|problems| {
        usage(format!(
            "{}: no learning rate can be chosen for {}: {}; finish the exploration: {finish}",
            dir.display(),
            plural(problems.len(), "setting"),
            some(&problems)
        ))
    })?;
    let planned = folder.planned.iter().map(|(_, job)| job);
    let seeds =
        FreshSeeds::beside(planned.chain(folder.records.iter().map(|r| &r.job)), args.seeds);
    let mut known: HashSet<JobId> = HashSet::new();
    let mut settings: Vec<&Job> = Vec::new();
    let named = summary::named(&folder.input(None));
    for job in choices.iter().map(|choice| &choice.job).chain(&named) {
        if known.insert(job.with(&[("seed", Value::Integer(0))])?.id()) {
            settings.push(job);
        }
    }
    let commits: BTreeSet<&str> =
        folder.records.iter().map(|record| &*record.provenance.git_sha).collect();
    let provenance = Explored {
        folder: dir.to_string_lossy().trim_end_matches('/').to_owned(),
        commits: commits.into_iter().collect::<Vec<_>>().join(", "),
        runs: folder.records.len(),
        chosen: choices.iter().map(|choice| choice.chosen.clone()).collect(),
    };
    let name = args.name.clone().unwrap_or_else(|| format!("{}-confirm", explored.name));
    let target = args.run.results.path().join(&name);
    let new = explored.confirming(name, &settings, &seeds, provenance);
    let path = target.join("grid.toml");
    // In the form that `run` will read.
    let grid = Grid::parse(&new.to_toml(), &path, &Overrides::default())?;
    let plan = Plan::of(&grid)?;
    let is_there = is_there(&target, &dir, &grid, &plan)?;

    console::print(&table(&choices))?;
    warn(new.warnings.iter().chain(&warnings(&choices, args.seeds, &finish)));
    if args.dry_run {
        plan::overview(&grid, &target, &Speeds::load())?;
        return Ok(0);
    }
    if !is_there {
        std::fs::create_dir_all(&target)
            .with_context(|| format!("cannot make the folder {}", target.display()))?;
        sweep::describe(&target, &grid.to_toml(), &plan.jobs)?;
    }
    if args.plan_only {
        let path = path.display();
        say(&format!("{path} is written; train it with: wninit run {path} --summary"));
        return Ok(0);
    }
    let mut words: Vec<OsString> = vec!["run".into(), path.into()];
    words.extend(run_options()?);
    words.extend(globals.words());
    if args.run.shard.is_none() && !args.run.summary {
        words.push("--summary".into());
    }
    Err(become_wninit_torch_with(words))
}

/// Whether the confirmation's grid is already in its folder.
fn is_there(target: &Path, explored: &Path, grid: &Grid, plan: &Plan) -> anyhow::Result<bool> {
    let full = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let folder = full(target)?;
    if target.parent().map(full).transpose()?.is_some_and(|root| root.ends_with("results/paper")) {
        return Err(usage(
            "results/paper holds committed results and is not written to: give another --results",
        ));
    }
    if folder == full(explored)? {
        return Err(usage(format!(
            "{} is the folder of the sweep that explored: give another --name",
            target.display()
        )));
    }
    let there = Grid::load(&target.join("grid.toml"), &Overrides::default()).ok();
    let ids = |plan: &Plan| plan.jobs.iter().map(|planned| planned.id).collect::<HashSet<JobId>>();
    let planned = there.as_ref().and_then(|grid| Plan::of(grid).ok());
    if planned.is_some_and(|there| ids(&there) == ids(plan)) {
        return Ok(true);
    }
    let rows = finished_ids(target)?.len();
    if rows == 0 && holder(target)?.is_none() {
        return Ok(false);
    }
    Err(usage(format!(
        "{} has {} of a sweep with {}: give another --name, or remove that folder",
        target.display(),
        plural(rows, "finished run"),
        difference(there.and_then(|grid| grid.explored).as_ref(), grid.explored.as_ref()),
    )))
}

/// The difference between two confirmations, as text.
fn difference(there: Option<&Explored>, new: Option<&Explored>) -> String {
    let (Some(there), Some(new)) = (there, new) else {
        return "another grid".to_owned();
    };
    let rates = |explored: &Explored| -> BTreeMap<String, f64> {
        let setting = |chosen: &Chosen| {
            chosen.setting.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        explored.chosen.iter().map(|chosen| (setting(chosen), chosen.lr)).collect()
    };
    let (there, new) = (rates(there), rates(new));
    let other = new.iter().find_map(|(setting, lr)| {
        let before = there.get(setting).filter(|before| *before != lr)?;
        Some(format!("other choices ({before} instead of {lr} for {setting})"))
    });
    other.unwrap_or_else(|| {
        if there.len() == new.len() { "other seeds" } else { "other settings" }.to_owned()
    })
}

/// The words joined, without the middle of a long list.
fn some(words: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = words.len().saturating_sub(SHOWN);
    let shown = words[..words.len() - more].join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}

/// Warnings before training.
fn warnings(choices: &[Choice], seeds: u32, finish: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut edges: BTreeMap<String, (Vec<String>, String)> = BTreeMap::new();
    for choice in choices {
        let words = |lr: f64| Value::Float(lr).in_words();
        let lr = words(choice.chosen.lr);
        let start = match (choice.edge, choice.fails) {
            (Some(_), true) => {
                format!("every learning rate explored fails, and {lr}, the smallest, is kept")
            }
            (None, true) => format!("every run fails at {lr}, the only learning rate explored,"),
            (Some(Edge::Smallest(_)), false) => {
                format!("{lr} is the smallest learning rate explored")
            }
            (Some(Edge::Largest(_)), false) => {
                format!("{lr} is the largest learning rate explored")
            }
            (None, false) => continue,
        };
        let next = match choice.edge {
            Some(Edge::Smallest(next) | Edge::Largest(next)) => {
                format!(": add {} to the grid", words(next))
            }
            None => String::new(),
        };
        edges.entry(start).or_insert((Vec::new(), next)).0.push(choice.setting());
    }
    for (start, (settings, next)) in edges {
        let settings = if settings.iter().all(String::is_empty) {
            String::new()
        } else {
            format!(" for {}", some(&settings))
        };
        warnings.push(format!("{start}{settings}{next}"));
    }
    let refused: Vec<String> = choices
        .iter()
        .flat_map(|choice| {
            choice.refused.iter().map(|(lr, n)| {
                format!("{lr} with {} for {}", plural(*n, "finished seed"), choice.setting())
            })
        })
        .collect();
    if !refused.is_empty() {
        warnings.push(format!(
            "learning rates with fewer finished seeds than others are refused: {}; runs that diverge \
             end first, so finish the exploration: {finish}",
            some(&refused)
        ));
    }
    let only = |choice: &Choice| {
        choice.chosen.runner_up.is_none() && !choice.fails && choice.refused.is_empty()
    };
    if choices.iter().all(only) {
        warnings.push("one learning rate is explored: nothing is chosen".to_owned());
    }
    if (seeds as usize) < CONFIRMING {
        warnings.push(format!("{seeds} seeds are exploratory: give at least {CONFIRMING}"));
    }
    warnings
}

/// A row for each choice.
fn table(choices: &[Choice]) -> String {
    let mut names: Vec<&'static str> = Vec::new();
    for condition in choices.iter().flat_map(|choice| &choice.chosen.setting) {
        if !names.contains(&condition.field.name) {
            names.push(condition.field.name);
        }
    }
    let mut columns: Vec<TextColumn<Chosen>> = Vec::new();
    for &name in &names {
        columns.push(Heading::new(name).cell(move |chosen: &Chosen| {
            let condition = chosen.setting.iter().find(|condition| condition.field.name == name);
            condition.map(|condition| condition.values_joined("")).unwrap_or_default()
        }));
    }
    let three = |x: f64| format!("{x:.3}");
    columns.extend([
        Heading::number("lr").cell(|chosen: &Chosen| Value::Float(chosen.lr).in_words()),
        Heading::number("validation")
            .cell(move |chosen: &Chosen| chosen.val_acc.map(three).unwrap_or_default()),
        Heading::number("seeds").cell(|chosen: &Chosen| chosen.seeds.to_string()),
        Heading::new("runner-up").cell(move |chosen: &Chosen| {
            let with = |(lr, x): (f64, f64)| format!("{} ({})", significant(lr, 4), three(x));
            chosen.runner_up.map(with).unwrap_or_default()
        }),
        Heading::new("").cell(|chosen: &Chosen| chosen.note.clone().unwrap_or_default()),
    ]);
    let rows = choices.iter().map(|choice| choice.chosen.clone());
    let table = TextTable::new("Learning rates chosen on validation", names.len(), columns, rows);
    table.text(Style { width: usize::MAX, colour: false }) + "\n"
}

/// The options of `wninit run` on this program's command line.
fn run_options() -> anyhow::Result<Vec<OsString>> {
    let matches = Cli::command().try_get_matches_from(std::env::args_os())?;
    let Some((_, matches)) = matches.subcommand() else { return Ok(Vec::new()) };
    let mut words = Vec::new();
    for option in Options::augment_args(clap::Command::new("run")).get_arguments() {
        let (id, name) = (option.get_id().as_str(), option.get_long().unwrap_or_default());
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if !option.get_action().takes_values() {
            words.push(format!("--{name}").into());
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            words.push(word);
        }
    }
    Ok(words)
}
