//! `wninit slurm`: a sweep as a Slurm job array.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Parser;
use sha2::{Digest, Sha256};

use super::Cli;
use super::plan::{self, PlannedSweep};
use crate::slurm::{ARRAY, FINISH, JobArray};
use wninit_core::atomic::write_atomically;
use wninit_core::cli::{GridArgs, Root};
use wninit_core::console::{self, say, warn};
use wninit_core::data::{self, Sources, fetch, files};
use wninit_core::grid::Grid;
use wninit_core::plan::Plan;
use wninit_core::plan::cost::PROGRAM_MEMORY;
use wninit_core::plan::shard::Shard;
use wninit_core::plan::speed::Speeds;
use wninit_core::results::finished_ids;
use wninit_core::run::sweep;
use wninit_core::usage::usage;

/// Train a sweep on a Slurm cluster: a job array with a shard for each task, and a job that merges,
/// summarises and reports after it
///
/// Writes the scripts to ROOT/NAME/slurm/, with a copy of the grid, so that later edits have no
/// effect, and prints the array's script; with --submit both are submitted. Before their time
/// limit, tasks save and are queued again.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Options after -- are those of `wninit run`. The scripts run copies of the programs, so that a rebuild
does not change tasks that wait.

Examples:
  wninit slurm sweeps/depth.toml --array 16 --cpus-per-task 4 --time 04:00:00
  wninit slurm sweeps/depth.toml --array 4 --gres gpu:1 --setup 'module load cuda' --submit
  wninit slurm results/depth --array 16%4 --time 1-00 --submit --again -- --checkpoint-every 2m")]
pub struct Args {
    #[command(flatten)]
    pub grid: GridArgs,
    /// Number of tasks, one for each shard; with 16%4, 4 of 16 run at a time
    #[arg(long, value_name = "N[%M]")]
    pub array: Tasks,
    /// Submit the jobs with sbatch
    #[arg(long)]
    pub submit: bool,
    /// Submit although the sweep was submitted before: the first array has ended
    #[arg(long, requires = "submit")]
    pub again: bool,
    /// A line of shell to run first in each job, such as --setup "module load cuda" (repeatable)
    #[arg(long, value_name = "LINE")]
    pub setup: Vec<String>,
    /// Partition of the jobs
    #[arg(long, value_name = "PARTITION", help_heading = RESOURCES)]
    pub partition: Option<String>,
    /// Resources of each task, such as gpu:1; without a GPU it trains on its CPUs
    #[arg(long, value_name = "GRES", help_heading = RESOURCES)]
    pub gres: Option<String>,
    /// Time limit of a task: minutes, H:M:S or D-H:M:S; then it is queued again and continues
    #[arg(long, value_name = "TIME", help_heading = RESOURCES)]
    pub time: Option<TimeLimit>,
    /// CPUs of a task; without a GPU, each is a worker
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = RESOURCES)]
    pub cpus_per_task: Option<u32>,
    /// Memory of a task, such as 8G [default: estimated from the networks]
    #[arg(long, value_name = "SIZE", help_heading = RESOURCES)]
    pub mem: Option<String>,
    /// Account to charge
    #[arg(long, value_name = "ACCOUNT", help_heading = RESOURCES)]
    pub account: Option<String>,
    /// A further option of sbatch, such as --sbatch=--qos=high (repeatable)
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// How long before its time limit a task saves and is queued again
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=65535))]
    pub signal: u32,
    /// Maximum number of times that a task is queued again
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub restarts: u32,
    #[command(flatten)]
    pub results: Root,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Options of `wninit run`
    #[arg(last = true, value_name = "RUN OPTIONS")]
    pub run: Vec<String>,
}

const RESOURCES: &str = "Resources of a task";

/// A time limit of Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// As given.
    pub text: String,
    pub seconds: u64,
}

impl FromStr for TimeLimit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected minutes (90), hours, minutes and seconds (04:00:00), or days and hours (1-12, 1-12:30:00), \
                 and not {text:?}"
            )
        };
        let number = |part: &str| match part.bytes().all(|byte| byte.is_ascii_digit()) {
            true => part.parse::<u32>().map(u64::from).map_err(|_| wrong()),
            false => Err(wrong()),
        };
        let (days, rest) = match text.split_once('-') {
            Some((days, rest)) => (Some(number(days)?), rest),
            None => (None, text),
        };
        let parts: Vec<u64> = rest.split(':').map(number).collect::<Result<_, _>>()?;
        let seconds = match (days, &parts[..]) {
            (None, [minutes]) => minutes * 60,
            (None, [minutes, seconds]) => minutes * 60 + seconds,
            (Some(days), [hours]) => (days * 24 + hours) * 3600,
            (Some(days), [hours, minutes]) => (days * 24 + hours) * 3600 + minutes * 60,
            (days, [hours, minutes, seconds]) => {
                (days.unwrap_or(0) * 24 + hours) * 3600 + minutes * 60 + seconds
            }
            _ => return Err(wrong()),
        };
        Ok(TimeLimit { text: text.to_owned(), seconds })
    }
}

/// The number of tasks, and how many run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    pub count: u32,
    pub at_once: Option<u32>,
}

impl FromStr for Tasks {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|n| (1..=Shard::MOST).contains(n));
        let (count, at_once) = match text.split_once('%') {
            Some((count, at_once)) => (number(count), number(at_once).map(Some)),
            None => (number(text), Some(None)),
        };
        match (count, at_once) {
            (Some(count), Some(at_once)) => Ok(Tasks { count, at_once }),
            _ => Err(format!(
                "expected a number of tasks from 1 to {}, such as 16, or 16%4 for 4 at a time",
                Shard::MOST
            )),
        }
    }
}

/// Writes the scripts, and prints the array's or submits both.
///
/// # Errors
/// The grid or the command line is invalid, a data set is missing, a file cannot be written, or
/// `sbatch` fails.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let (grid, sweep_dir) = args.grid.load(&args.results)?;
    let plan = Plan::of(&grid)?;
    if grid.until_decided.is_some() {
        return Err(usage(NO_LOOKS));
    }
    let run = run_options(args)?;
    let (mut options, finish_options) = sbatch_options(args)?;
    if let Some(line) = args.setup.iter().find(|line| line.chars().any(char::is_control)) {
        return Err(usage(format!("--setup has a control character: {line:?}")));
    }
    let data = absolute(&args.data.clone().unwrap_or_else(data::default_dir), "--data")?;
    let sweep_dir = std::path::absolute(&sweep_dir)?;
    let results = text(sweep_dir.parent().unwrap_or(&sweep_dir), "--results")?;
    check_data(&plan, Path::new(&data), &args.grid.grid)?;
    let jobs = plan.jobs.iter().map(|planned| &planned.job);
    Sources::new(data.clone().into(), grid.files.clone()).checked(jobs)?;
    warn(&plan.warnings);

    if results.contains('\\') {
        return Err(usage(format!(
            "--results: Slurm writes no log to a path with a backslash, as in {results}"
        )));
    }
    let finished = finished_ids(&sweep_dir)?;
    let left = plan.remaining(&finished).count();
    if left == 0 {
        let jobs = plan.jobs.len();
        say(&format!("nothing to submit: all {jobs} jobs of {} are finished", grid.name));
        return Ok(0);
    }
    if args.array.count as usize > plan.jobs.len() {
        let (tasks, jobs) = (args.array.count, plan.jobs.len());
        warn([format!("{tasks} tasks for {jobs} jobs: the rest will have no jobs")]);
    }

    let folder = sweep_dir.join("slurm");
    let submitted = folder.join(SUBMITTED);
    if args.submit
        && !args.again
        && let Ok(before) = std::fs::read_to_string(&submitted)
    {
        return Err(usage(format!(
            "this sweep was submitted before, as {}: two arrays would train the same jobs; if that one has ended, \
             submit with --again",
            before.trim()
        )));
    }
    let planned = PlannedSweep::of(&grid, sweep_dir.clone(), &Speeds::load())?;
    if args.mem.is_none() && !args.sbatch.iter().any(|option| option.starts_with("--mem")) {
        options.push(format!("--mem={}G", memory(&planned, args)));
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let frozen = frozen(&folder, &grid)?;
    let program = text(&pinned(&folder)?, "this program")?;
    let array = JobArray {
        name: grid.name.clone(),
        program,
        grid: text(&frozen, "the grid")?,
        results,
        data,
        sweep: text(&sweep_dir, "the sweep's folder")?,
        folder: text(&folder, "the scripts' folder")?,
        tasks: args.array.count,
        at_once: args.array.at_once,
        warning: args.signal,
        restarts: args.restarts,
        options,
        finish_options,
        run: run.words,
        setup: args.setup.clone(),
        worker_a_cpu: run.worker_a_cpu,
    };
    let script = array.array_script();
    write_atomically(&folder.join(ARRAY), script.as_bytes())?;
    write_atomically(&folder.join(FINISH), array.finish_script().as_bytes())?;
    say(&cost(&planned, run.on_gpus));
    if args.submit {
        sweep::describe(&sweep_dir, &grid.to_toml(), &plan.jobs)?; // for `wninit status`
        submit(&folder, args.array.count, left, &submitted)?;
    } else {
        console::print_raw(script.as_bytes())?;
        say(&format!(
            "this is {}; its first lines say how to submit it and {FINISH}",
            folder.join(ARRAY).display()
        ));
    }
    Ok(0)
}

/// Why a job array does not add seeds until claims are decided.
const NO_LOOKS: &str = "the tasks of a job array train fixed shards, and seeds that are added until claims are \
     decided depend on all of them; leave until_decided out, or start `wninit run` in one task of its own";

/// Options of `wninit run` for each task.
struct RunOptions {
    words: Vec<String>,
    worker_a_cpu: bool,
    on_gpus: bool,
}

/// Checks the options after `--` and adds the device.
fn run_options(args: &Args) -> anyhow::Result<RunOptions> {
    let mut words = args.run.clone();
    if let Some(word) = words.iter().find(|word| word.chars().any(char::is_control)) {
        return Err(usage(format!("an option of `wninit run` has a control character: {word:?}")));
    }
    let given =
        |name: &str| words.iter().any(|word| word == name || word.starts_with(&format!("{name}=")));
    // With a GPU request Slurm shows a task its own GPUs, without one perhaps all.
    let gpu = args.gres.iter().chain(&args.sbatch).any(|option| is_about_gpus(option));
    let device = match (given("--device"), gpu) {
        (true, _) => None,
        (false, true) => Some("cuda"),
        (false, false) => Some("cpu"),
    };
    if let Some(device) = device {
        words.extend(["--device", device].map(str::to_owned));
    }
    let fixed = ["wninit", "run", "grid.toml", "--shard=1/1", "--results=r", "--data=d"];
    let parsed = Cli::try_parse_from(fixed.into_iter().chain(words.iter().map(String::as_str)));
    let command = parsed.map_err(|error| {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        usage(format!("after --: {}", first.trim_start_matches("error: ")))
    })?;
    let super::Command::Run(run) = command.command else {
        bail!("a bug: the options of `wninit run` are read as another command");
    };
    if !run.grid.overrides.is_empty() {
        return Err(usage("--set, --only and --profile belong before the --"));
    }
    let options = run.options;
    if options.until_decided.until_decided || options.until_decided.max_seeds.is_some() {
        return Err(usage(NO_LOOKS));
    }
    let cpu = device == Some("cpu") || options.device == wninit_core::execution::DeviceChoice::Cpu;
    Ok(RunOptions { words, worker_a_cpu: cpu && options.workers.is_none(), on_gpus: !cpu })
}

/// The file with the numbers of the submitted jobs.
const SUBMITTED: &str = "submitted.txt";

/// Gigabytes of memory for a task: its largest network on each of its workers, and a quarter more.
fn memory(planned: &PlannedSweep, args: &Args) -> u64 {
    let networks = planned.networks.iter().map(|network| network.memory_bytes);
    let workers = f64::from(args.cpus_per_task.unwrap_or(1));
    let each = (networks.fold(0.0, f64::max) - PROGRAM_MEMORY).max(0.0);
    let bytes = 1.25 * (PROGRAM_MEMORY + workers * each);
    ((bytes / f64::from(1 << 30)).ceil() as u64).max(2)
}

/// The estimated cost of what is left.
fn cost(planned: &PlannedSweep, on_gpus: bool) -> String {
    let (hours, of) = match on_gpus {
        true => (planned.gpu_hours, "GPU-hours"),
        false => (planned.core_hours, "core-hours"),
    };
    let rough = if planned.measured { "" } else { ", roughly" };
    format!("{} jobs: about {} {of}{rough}", planned.remaining, plan::hours(hours))
}

/// A copy of both programs for tasks that may start in days, so that a rebuild does not change
/// them. Its folder is named by their content.
fn pinned(folder: &Path) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let mut hash = Sha256::new();
    let programs = [this.clone(), this.with_file_name("wninit-torch")];
    for program in &programs {
        let bytes = std::fs::read(program).with_context(|| {
            format!("cannot read {}; build it with `make build`", program.display())
        })?;
        hash.update(&bytes);
    }
    let copies = folder.join(format!("programs-{}", files::hex(&hash.finalize()[..4])));
    std::fs::create_dir_all(&copies)
        .with_context(|| format!("cannot make the folder {}", copies.display()))?;
    for program in &programs {
        let copy = copies.join(program.file_name().unwrap_or_default());
        if copy.exists() {
            continue;
        }
        // Renamed when it is whole: tasks may be using this folder.
        let part = copy.with_extension("part");
        std::fs::copy(program, &part)
            .and_then(|_| std::fs::rename(&part, &copy))
            .with_context(|| format!("cannot copy {} to {}", program.display(), copy.display()))?;
    }
    Ok(copies.join(this.file_name().unwrap_or_default()))
}

fn is_about_gpus(option: &str) -> bool {
    option.contains("gpu")
}

/// The options of `sbatch` for the array, and for the job after it, which needs no GPU and no
/// more than one CPU.
fn sbatch_options(args: &Args) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let cpus = args.cpus_per_task.map(|n| n.to_string());
    let gpu = args.gres.iter().chain(&args.sbatch).any(|option| is_about_gpus(option));
    if let Some(limit) = args.time.as_ref().filter(|limit| limit.seconds <= args.signal.into()) {
        return Err(usage(format!(
            "--time {} is {} s, and a task saves {} s before its end (--signal): give it more time",
            limit.text, limit.seconds, args.signal
        )));
    }
    let time = args.time.as_ref().map(|limit| &limit.text);
    let named = [
        // A partition of GPUs is not for a job without one.
        ("--partition", args.partition.as_ref(), !gpu),
        ("--account", args.account.as_ref(), true),
        ("--time", time, false),
        ("--mem", args.mem.as_ref(), false),
        ("--gres", args.gres.as_ref(), false),
        ("--cpus-per-task", cpus.as_ref(), false),
    ];
    let mut options = Vec::new();
    let mut add = |option: String, both: bool| {
        if option.chars().any(char::is_control) {
            return Err(usage(format!("an option of sbatch has a control character: {option:?}")));
        }
        options.push((option, both));
        Ok(())
    };
    for (name, value, both) in named {
        if let Some(value) = value {
            if value.is_empty() {
                return Err(usage(format!("{name} is empty")));
            }
            add(format!("{name}={value}"), both)?;
        }
    }
    for option in &args.sbatch {
        if !option.starts_with('-') || option.contains(char::is_whitespace) && !option.contains('=')
        {
            return Err(usage(format!(
                "--sbatch takes one option with its value, such as --sbatch=--qos=high, and not {option:?}"
            )));
        }
        add(option.clone(), !is_about_gpus(option))?;
    }
    let both = options.iter().filter(|(_, both)| *both).map(|(option, _)| option.clone()).collect();
    Ok((options.into_iter().map(|(option, _)| option).collect(), both))
}

/// The absolute path as text for a script.
fn absolute(path: &Path, what: &str) -> anyhow::Result<String> {
    let path = std::path::absolute(path).map_err(|error| usage(format!("{what}: {error}")))?;
    text(&path, what)
}

/// The path as text for a script.
fn text(path: &Path, what: &str) -> anyhow::Result<String> {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(usage(format!(
            "{what} is in {path:?}, which a batch script cannot name: it is not UTF-8, or has a control character"
        ))),
    }
}

/// Every data set of the plan must be there and complete: a compute node may have no network.
fn check_data(plan: &Plan, dir: &Path, grid: &Path) -> anyhow::Result<()> {
    let datasets: BTreeSet<_> = plan.jobs.iter().map(|p| p.job.dataset.name()).collect();
    for dataset in datasets {
        let place = files::Place { dataset, dir: dir.to_owned() };
        fetch::check(&place).map_err(|error| {
            usage(format!(
                "the data must be there before the jobs are: {error} (or all of it: wninit fetch {} --data {})",
                crate::slurm::quote(&grid.to_string_lossy()),
                crate::slurm::quote(&dir.to_string_lossy()),
            ))
        })?;
    }
    Ok(())
}

/// A copy of the grid for tasks that may start in days. Its name is a hash of its content, so that
/// a later submission does not change it.
fn frozen(folder: &Path, grid: &Grid) -> anyhow::Result<PathBuf> {
    let text = grid.to_toml();
    let name = files::hex(&Sha256::digest(&text)[..4]);
    let path = folder.join(format!("grid-{name}.toml"));
    write_atomically(&path, text.as_bytes())?;
    Ok(path)
}

/// Submits the array and the job after it.
fn submit(folder: &Path, tasks: u32, jobs: usize, submitted: &Path) -> anyhow::Result<()> {
    let array = sbatch(&[], &folder.join(ARRAY))?;
    // From now on tasks train, whatever becomes of the job after them.
    write_atomically(submitted, format!("job {array}\n").as_bytes())?;
    let after = format!("--dependency=afterany:{array}");
    let finish = sbatch(&[&after], &folder.join(FINISH)).with_context(|| {
        format!("the array is submitted as job {array}, but not the job that merges its shards")
    })?;
    console::print(&format!(
        "{jobs} jobs in {tasks} tasks: job {array}\n\
         merge, summary and report after them: job {finish}\n\
         logs: {}\n",
        folder.display()
    ))
    .with_context(|| format!("both are submitted, as the jobs {array} and {finish}"))
}

/// Submits a script and returns the job's number.
fn sbatch(options: &[&str], script: &Path) -> anyhow::Result<String> {
    let mut command = Command::new("sbatch");
    command.arg("--parsable").args(options).arg(script);
    // Otherwise, inside a Slurm job, its options would apply to the new one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SBATCH_") {
            command.env_remove(name);
        }
    }
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => usage(
            "there is no sbatch here: submit from a machine of the cluster, or leave out --submit and copy the scripts",
        ),
        _ => anyhow::Error::new(error).context("cannot start sbatch"),
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("sbatch rejected {}: {}", script.display(), said.trim());
    }
    if !said.is_empty() {
        say(said.trim_end());
    }
    // JOB, or JOB;CLUSTER
    let id = String::from_utf8_lossy(&output.stdout);
    let id = id.trim().split(';').next().unwrap_or_default();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("sbatch accepted {}, but printed no job number: {:?}", script.display(), id);
    }
    Ok(id.to_owned())
}
