//! `wninit plan`: the jobs of a grid and their cost, before anything runs.

mod object;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wninit_core::cache;
use wninit_core::cli::plan::Args;
use wninit_core::cli::{Written, json};
use wninit_core::console::{self, detail, warn};
use wninit_core::execution::cores;
use wninit_core::fmt::{count, duration, scaled, thousands};
use wninit_core::grid::{Axis, Grid, Metric};
use wninit_core::job::{Job, JobId, Value};
use wninit_core::plan::Plan;
use wninit_core::plan::cohort::{self, Cohort, Shape};
use wninit_core::plan::cost::{self, ModelCost, Rates};
use wninit_core::plan::shard;
use wninit_core::plan::speed::Speeds;
use wninit_core::results;
use wninit_core::run::sweep::PlanChange;
use wninit_core::run::until_decided::asked_for;
use wninit_core::text::one_line;
use wninit_core::text_table::{Heading, Style, TextTable};
use wninit_core::usage::usage;
use wninit_stats::summary::SequentialPlan;

use object::missing_data;
pub(crate) use object::{PlannedSweep, Plans};

/// A table of a plan: indented by a space, and never split or shortened.
fn text(table: &TextTable) -> String {
    let text = table.text(Style { width: usize::MAX, colour: false });
    text.lines().map(|line| format!(" {line}\n")).collect()
}

/// Prints the plan, with costs by the known speeds of this machine.
///
/// # Errors
/// The grid is invalid, the results cannot be read, or the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    print(args, &Speeds::load())
}

/// Prints the plan, with costs by the speeds that `wninit-torch` measured.
pub(super) fn show(args: &Args, written: &Written) -> anyhow::Result<u8> {
    print(args, &Speeds::taken_over(&written.dir)?)
}

fn print(args: &Args, speeds: &Speeds) -> anyhow::Result<u8> {
    if let Some(folder) = cache::folder() {
        detail(&format!("measured speeds: {}", folder.display()));
    }
    if args.json.json {
        let sweep = |path: &PathBuf| -> anyhow::Result<PlannedSweep> {
            let (grid, dir) = load(args, path)?;
            PlannedSweep::of(&grid, dir, speeds)
        };
        let sweeps: Vec<PlannedSweep> = args.grids.iter().map(sweep).collect::<Result<_, _>>()?;
        sweeps.iter().for_each(|sweep| warn(&sweep.warnings));
        json::print(&Plans { sweeps })?;
        return Ok(0);
    }
    let [path] = &args.grids[..] else {
        if args.list || args.csv || args.folder || args.shards.is_some() {
            return Err(usage(format!(
                "--list, --csv, --shards and --folder are for one grid, and {} are given",
                args.grids.len()
            )));
        }
        console::print(&suite(args, speeds)?)?;
        return Ok(0);
    };
    let (grid, dir) = load(args, path)?;
    if args.folder {
        // Unescaped, because scripts use it as a path.
        console::print_raw(&[dir.as_os_str().as_bytes(), b"\n"].concat())?;
    } else if let Some(count) = args.shards {
        let plan = Plan::of(&grid)?;
        warn(&plan.warnings);
        if SequentialPlan::of(&grid)?.is_some() {
            return Err(usage(
                "a sweep whose seeds are added until its claims are decided has no shards",
            ));
        }
        console::print(&shards(&plan, count, &results::finished_ids(&dir)?))?;
    } else if args.csv {
        let (plan, _) = so_far(&grid, &dir)?;
        warn(&plan.warnings);
        console::print_raw(results::plan_csv(&plan.jobs).as_bytes())?;
    } else if args.list {
        let (plan, _) = so_far(&grid, &dir)?;
        warn(&plan.warnings);
        console::print_raw(list(&plan).as_bytes())?;
    } else {
        overview(&grid, &dir, speeds)?;
    }
    Ok(0)
}

/// A grid of the command line, and the folder of its results.
fn load(args: &Args, path: &Path) -> anyhow::Result<(Grid, PathBuf)> {
    let (mut grid, dir) = args.results.grid(path, &args.overrides)?;
    args.until_decided.apply(&mut grid)?;
    Ok((grid, dir))
}

/// The plan of a grid with the jobs that looks have added, and the rule's plan if it has one.
fn so_far(grid: &Grid, dir: &Path) -> anyhow::Result<(Plan, Option<SequentialPlan>)> {
    let mut plan = Plan::of(grid)?;
    let path = SequentialPlan::of(grid)?;
    if path.is_some() {
        plan.jobs = asked_for(grid, plan.clone(), dir)?;
    }
    Ok((plan, path))
}

/// Prints the jobs of one grid and their cost.
pub(super) fn overview(grid: &Grid, dir: &Path, speeds: &Speeds) -> anyhow::Result<()> {
    let (plan, path) = so_far(grid, dir)?;
    warn(&plan.warnings);
    let finished = results::finished_ids(dir)?;
    let ids = plan.jobs.iter().map(|planned| planned.id).collect();
    let change = PlanChange::of(dir, &ids, &finished)?;
    let mut text = format!("{}\n", grid.name);
    if let Some(about) = &grid.about {
        let _ = writeln!(text, "{about}");
    }
    if let (Some(rule), Some(path)) = (grid.until_decided, path) {
        let _ = writeln!(
            text,
            "Seeds are added until {} decided, {} at a time, at most {}: {} at most",
            if grid.claims.len() == 1 { "its claim is" } else { "its claims are" },
            rule.batch,
            rule.max_seeds,
            count(path.most(), "job"),
        );
    }
    let cohorts = remaining(&plan, &finished, speeds);
    let missing = missing_data(cohorts.iter().flat_map(Cohort::jobs), grid);
    describe(&plan, cohorts, change, speeds, &mut text);
    for data in missing {
        let _ = writeln!(text, "\ndata: {}", one_line(&data));
    }
    Ok(console::print(&text)?)
}

/// The jobs that are not finished, in cohorts as this machine trains them.
fn remaining(plan: &Plan, finished: &HashSet<JobId>, speeds: &Speeds) -> Vec<Cohort> {
    let jobs: Vec<Job> = plan.remaining(finished).map(|planned| planned.job.clone()).collect();
    cohort::spread(cohort::cohorts(jobs, |shape| speeds.width(shape)), workers(speeds))
}

/// The workers of this machine: its GPUs, or its cores.
fn workers(speeds: &Speeds) -> usize {
    speeds.machine().map_or_else(cores, |(_, workers)| workers)
}

/// The cost of a grid that is only about curvature, in epochs: some thirty Hessian-vector products
/// over a tenth of the batches, each as long as two and a half steps.
fn epochs_for(grid: &Grid) -> f64 {
    let metrics = || grid.claims.iter().map(|claim| claim.metric);
    let curvature = metrics().all(|metric| metric == Metric::LogSpectralNorm);
    if curvature && metrics().next().is_some() { 30.0 * 0.1 * 2.5 } else { 1.0 }
}

/// A row for each grid, and the total.
fn suite(args: &Args, speeds: &Speeds) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    let (mut sums, mut measured) = ([0.0; 5], true);
    for path in &args.grids {
        let (grid, dir) = load(args, path)?;
        let sweep = PlannedSweep::of(&grid, dir, speeds)?;
        warn(&sweep.warnings);
        let row = [
            sweep.jobs as f64,
            sweep.finished as f64,
            sweep.core_hours,
            sweep.gpu_hours,
            sweep.disk_bytes,
        ];
        measured &= sweep.measured;
        rows.push((sweep.name, row));
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    rows.push(("all".to_owned(), sums));
    let number = |heading: &str, at: usize, show: fn(f64) -> String| {
        Heading::number(heading).cell(move |(_, row): &(String, [f64; 5])| show(row[at]))
    };
    let columns = vec![
        Heading::new("sweep").cell(|(name, _): &(String, _)| name.clone()),
        number("jobs", 0, |n| thousands(n as usize)),
        number("finished", 1, |n| thousands(n as usize)),
        number("core-hours", 2, hours),
        number("GPU-hours", 3, hours),
        number("disk", 4, |bytes| scaled(bytes, "B")),
    ];
    let mut text = text(&TextTable::new("", 1, columns, rows));
    let flops = scaled(Rates::GPU.fp32, "FLOP/s");
    let here = |rest| if measured { "as measured here".to_owned() } else { rest };
    let guess = "from the arithmetic, roughly".to_owned();
    let (on_core, on_gpu) = match speeds.gpu() {
        None => (here(guess), format!("H200, from the arithmetic at {flops}; not measured")),
        Some(name) => {
            (guess, format!("{name}, {}", here(format!("where not measured at {flops}, roughly"))))
        }
    };
    let _ = write!(
        text,
        "\nHours of what is left, if nothing diverges.\n\
         core-hours  on one core of this machine, {on_core}\n\
         GPU-hours   on one {on_gpu}\n\
         disk        the sweeps' CSV files, without data sets and checkpoints\n"
    );
    Ok(text)
}

/// Hours with the digits that are significant in an estimate.
pub(super) fn hours(hours: f64) -> String {
    match hours {
        h if h < 0.095 => format!("{h:.2}"),
        h if h < 9.95 => format!("{h:.1}"),
        h => thousands(h.round() as usize),
    }
}

/// One job per line: `3f2a… depth=10 lr=0.1 seed=0`.
fn list(plan: &Plan) -> String {
    let varying = plan.varying();
    // init_seed and data_seed are redundant where seed sets both.
    let seed = varying.iter().any(|field| field.name == "seed")
        && plan.jobs.iter().all(|planned| planned.job.init_seed == planned.job.data_seed);
    let mut text = String::new();
    for planned in &plan.jobs {
        let _ = write!(text, "{}", planned.id);
        for field in &varying {
            let redundant = seed && matches!(field.name, "init_seed" | "data_seed");
            if let Some(value) = field.get(&planned.job).filter(|_| !redundant) {
                let _ = write!(text, " {}={value}", field.name);
            }
        }
        text.push('\n');
    }
    text
}

/// A line for each shard: its jobs, those left, and its cost relative to the mean.
fn shards(plan: &Plan, count: u32, finished: &HashSet<JobId>) -> String {
    let parts = shard::partition(&plan.jobs, count);
    let costs: Vec<(usize, f64, f64)> = parts
        .iter()
        .map(|part| {
            let jobs = part.iter().map(|&i| plan.jobs[i].job.clone());
            let cohorts = cohort::cohorts(jobs, cost::cpu_width);
            let seconds = cohorts.iter().map(|c| shard::cost(&c.shape(), c.jobs().len())).sum();
            let flop = cohorts.iter().map(|c| cost::job_flop(&c.shape()) * c.jobs().len() as f64);
            (cohorts.len(), flop.sum(), seconds)
        })
        .collect();
    let mean = costs.iter().map(|(.., seconds)| seconds).sum::<f64>() / costs.len() as f64;
    let left =
        |part: &[usize]| part.iter().filter(|&&i| !finished.contains(&plan.jobs[i].id)).count();
    type Row<'a> = (usize, (Vec<usize>, (usize, f64, f64)));
    let columns = vec![
        Heading::new("shard").cell(|(i, _): &Row| format!("{}/{count}", i + 1)),
        Heading::number("jobs").cell(|(_, (part, _)): &Row| thousands(part.len())),
        Heading::number("remaining").cell(|(_, (part, _)): &Row| thousands(left(part))),
        Heading::number("cohorts").cell(|(_, (_, (cohorts, ..))): &Row| thousands(*cohorts)),
        Heading::number("cost").cell(|(_, (_, (_, flop, _))): &Row| scaled(*flop, "FLOP")),
        Heading::number("of the mean")
            .cell(|(_, (_, (.., seconds))): &Row| format!("{:.1} %", 100.0 * seconds / mean)),
    ];
    text(&TextTable::new("", 1, columns, parts.into_iter().zip(costs).enumerate()))
}

fn describe(
    plan: &Plan,
    cohorts: Vec<Cohort>,
    change: Option<PlanChange>,
    speeds: &Speeds,
    text: &mut String,
) {
    text.push('\n');
    let name_width = plan.axes.iter().map(|axis| axis.field.name.len()).max().unwrap_or(0);
    for axis in &plan.axes {
        let _ = writeln!(text, "  {:name_width$}  {}", axis.field.name, values(axis));
    }
    if !plan.axes.is_empty() {
        text.push('\n');
    }

    let jobs = plan.jobs.len();
    let left: usize = cohorts.iter().map(|cohort| cohort.jobs().len()).sum();
    let sum = |of_a_job: fn(&Shape) -> f64| -> f64 {
        cohorts.iter().map(|c| of_a_job(&c.shape()) * c.jobs().len() as f64).sum()
    };
    let flop = sum(cost::job_flop);
    let _ = writeln!(
        text,
        "{}: {} finished, {} remaining in {}",
        count(jobs, "job"),
        thousands(jobs - left),
        thousands(left),
        count(cohorts.len(), "cohort")
    );
    if let Some(change) = change {
        let _ = writeln!(text, "{change}");
    }
    if left > 0 {
        let workers = workers(speeds);
        let measured = cohorts.iter().all(|c| speeds.knows(&c.shape(), c.jobs().len()));
        let _ = writeln!(
            text,
            "cost of the rest: about {} on {}{} ({})",
            duration(speeds.sweep_seconds(&cohorts, workers).max(1.0)),
            count(workers, if speeds.gpu().is_some() { "GPU" } else { "core" }),
            if measured { "" } else { ", roughly" },
            scaled(flop, "FLOP")
        );
        let evaluation = sum(cost::evaluation_flop) / flop;
        if evaluation > 0.5 {
            let _ = writeln!(
                text,
                "  {:.0} % of the arithmetic is validation and test; a smaller val_fraction or test_images saves it",
                100.0 * evaluation
            );
        }
        if !measured && speeds.gpu().is_some() {
            let flops = scaled(Rates::GPU.fp32, "FLOP/s");
            let _ =
                writeln!(text, "  networks without a measurement are assumed to run at {flops}");
        }
        if !measured {
            text.push_str("  --measure times a few steps of each network, once\n");
        }
    }
    let _ = writeln!(text, "\n{}", models(plan));
}

/// The most rows of the table of models.
const MAX_MODELS: usize = 40;

/// The networks that the plan trains, each with its number of jobs.
fn networks(plan: &Plan) -> Vec<(Shape, usize)> {
    let mut rows: Vec<(Shape, usize)> = Vec::new();
    let mut known: HashMap<_, usize> = HashMap::new();
    for planned in &plan.jobs {
        let shape = Shape::of(&planned.job);
        let key = (shape.dataset, shape.arch, shape.norm, shape.precision);
        let row = *known.entry(key).or_insert_with(|| {
            rows.push((shape, 0));
            rows.len() - 1
        });
        rows[row].1 += 1;
    }
    rows
}

/// Bytes of memory of a CPU worker that trains so many jobs of a network.
fn memory((shape, jobs): &(Shape, usize)) -> f64 {
    cost::PROGRAM_MEMORY + cost::memory(shape, cost::cpu_width(shape).min(*jobs))
}

/// A row for each network that the plan trains.
fn models(plan: &Plan) -> String {
    type Row = (Shape, usize);
    let rows = networks(plan);
    let columns = vec![
        Heading::new("model").cell(|(shape, _): &Row| shape.arch.to_string()),
        Heading::new("norm").cell(|(shape, _): &Row| shape.norm.to_string()),
        Heading::new("data").cell(|(shape, _): &Row| shape.dataset.name().to_string()),
        Heading::number("jobs").cell(|(_, jobs): &Row| jobs.to_string()),
        Heading::number("parameters")
            .cell(|(shape, _): &Row| scaled(ModelCost::of(shape).parameters as f64, "")),
        Heading::number("forward/image")
            .cell(|(shape, _): &Row| scaled(ModelCost::of(shape).forward_flop, "FLOP")),
        Heading::number("memory").cell(|row: &Row| scaled(memory(row), "B")),
    ];
    let more = rows.len().saturating_sub(MAX_MODELS);
    let more = if more > 0 { format!("\n… and {more} more") } else { String::new() };
    let table = text(&TextTable::new("", 0, columns, rows.into_iter().take(MAX_MODELS)));
    format!("{}{more}", table.trim_end())
}

/// The values of an axis, without the middle of a long list.
fn values(axis: &Axis) -> String {
    const WIDTH: usize = 72;
    let all: Vec<String> = axis.values.iter().take(WIDTH).map(Value::in_words).collect();
    let joined = all.join(", ");
    let Some(last) =
        axis.values.last().filter(|_| joined.len() > WIDTH || all.len() < axis.values.len())
    else {
        return joined;
    };
    let mut room = WIDTH;
    let shown = all.iter().take_while(|text| {
        room = room.saturating_sub(text.len() + 2);
        room > 0
    });
    let shown: Vec<&str> = shown.map(String::as_str).collect();
    format!("{}, …, {} ({})", shown.join(", "), last.in_words(), count(axis.values.len(), "value"))
}
