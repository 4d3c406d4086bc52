//! `wninit signal`: how far signals get at initialization, layer by layer.

use std::collections::HashSet;
use std::f64::consts::{E, SQRT_2};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow};
use wninit::commands::UsageError;
use wninit::commands::signal::Args;
use wninit::console::{self, say};
use wninit::interrupt::{self, EXIT_INTERRUPTED};
use wninit::job::{Arch, Job, JobId};
use wninit::plan::{Plan, PlannedJob};
use wninit::pool::EXIT_UNFINISHED;
use wninit::probe::signal::{self, LayerSignal, Net, Scheme};
use wninit::probe::{shared_out, starts};
use wninit::report::signal::{Arm, Net as Figure, Spread, signal_page};
use wninit::results::{ColumnDoc, describe_columns, document_columns, one_line, write_atomically};
use wninit::table::{Column, Datum, Display, Style, Table, significant};
use wninit::train::{Libtorch, Stop};
use wninit::{data, device, execution, stats};

/// What the theory says of a network with the proposed gain.
#[derive(Clone, Copy, PartialEq)]
enum Theory {
    /// Both ratios stay near 1.
    Level,
    /// Both grow to somewhere between √2 and √e.
    Bounded,
    /// Nothing that could be held against these numbers.
    None,
}

impl Theory {
    /// Where a mean over seeds may lie. The theorems are about expectations in wide networks: a
    /// network of 20 layers of some 200 units strays by a third in one draw, and ten seeds by a
    /// tenth; residual networks by a few per cent.
    fn bounds(self) -> Option<(f64, f64)> {
        match self {
            Theory::Level => Some((2.0 / 3.0, 1.5)),
            Theory::Bounded => Some((SQRT_2 * 0.95, E.sqrt() * 1.05)),
            Theory::None => None,
        }
    }
}

/// The network of one seed.
struct Measured {
    job: Option<JobId>,
    net: String,
    init: String,
    theory: Theory,
    init_seed: u64,
    data_seed: Option<u64>,
    layers: Vec<LayerSignal>,
}

/// Measures, writes `signal.csv`, `signal.html` and `columns.json`, and prints a table.
///
/// # Errors
/// If the grid or the command line is bad, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let stop = interrupt::install()?;
    match &args.grid {
        Some(_) => of_grid(args, &stop),
        None => synthetic(args, &stop),
    }
}

fn synthetic(args: &Args, stop: &AtomicBool) -> anyhow::Result<u8> {
    if !args.overrides.is_empty() {
        return Err(UsageError(anyhow!(
            "--set, --only and --profile change a grid, and none is given; \
             the synthetic networks take --seeds"
        ))
        .into());
    }
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("results/signal"));
    make(&out)?;
    let seeds = args.seeds.map_or(10, u32::from);
    let mut tasks = Vec::new();
    for seed in 0..u64::from(seeds) {
        for net in Net::fig1() {
            tasks.extend(Scheme::ALL.map(|scheme| (net, scheme, seed)));
        }
    }
    let order: Vec<(Net, Scheme, u64)> = tasks.clone();
    let workers = args.workers.map_or_else(execution::cores, usize::from);
    let mut found = Vec::new();
    let mut failure = None;
    let mut progress = Said::new(tasks.len());
    let measure = |_, (net, scheme, seed): (Net, Scheme, u64)| {
        ((net, scheme, seed), net.measure(scheme, seed))
    };
    shared_out(tasks, workers, stop, measure, |(task, result)| {
        progress.one_more();
        match result {
            Ok(layers) => found.push((task, layers)),
            Err(Stop::Failed { error, .. }) => failure = Some(error),
            Err(Stop::Interrupted) => {}
        }
        failure.is_none()
    });
    if let Some(error) = failure {
        return Err(error.context("the synthetic networks could not be measured"));
    }
    if stop.load(Ordering::Relaxed) && found.len() < order.len() {
        say("interrupted; nothing was written");
        return Ok(EXIT_INTERRUPTED);
    }
    found.sort_by_key(|(task, _)| order.iter().position(|other| other == task));
    let measured: Vec<Measured> = found
        .into_iter()
        .map(|((net, scheme, seed), layers)| Measured {
            job: None,
            net: net.name(),
            init: scheme.name().to_owned(),
            theory: match net {
                Net::Mlp { .. } => Theory::Level,
                Net::Residual { .. } => Theory::Bounded,
            },
            init_seed: seed,
            data_seed: None,
            layers,
        })
        .collect();
    let csv = csv(&measured)?;
    let about = "Norms by layer at initialization: the synthetic networks of Fig. 1 of Arpit, Campos \
                 & Bengio (2019). In theory the proposed gain keeps them near 1 in an MLP, and within \
                 √2 and √e in a residual network.";
    let figures = figures(&measured);
    write(&out, &csv, &signal_page("Signals at initialization", about, &figures, &csv))?;
    let documented = describe_columns(&[("signal.csv".to_owned(), columns())]);
    write_atomically(&out.join("columns.json"), documented.as_bytes())?;
    let shown = table(&measured).text(STYLE);
    console::print(&format!("{shown}{}\n", out.join("signal.html").display()))?;
    Ok(0)
}

fn of_grid(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
    let Some(path) = &args.grid else { return Ok(0) };
    let grid = args.overrides.load(path)?;
    let mut plan = Plan::of(&grid)?;
    chosen(&mut plan.jobs, &args.job)?;
    for warning in &plan.warnings {
        say(&format!("warning: {warning}"));
    }
    let (devices, threads) =
        device::workers(&args.device, args.workers.map(usize::from)).map_err(UsageError)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("results").join(&grid.name));
    make(&out)?;
    let starts = starts(plan.jobs.iter().map(|planned| &planned.job));
    let first: Vec<PlannedJob> =
        starts.iter().map(|s| PlannedJob { id: s.start.id(), job: s.start.clone() }).collect();
    let nets = net_names(&Plan { jobs: first, axes: Vec::new(), warnings: Vec::new() });
    let folder = args.data.clone().unwrap_or_else(data::default_dir);
    let workers = devices.len();
    let trainer = Libtorch::new(devices, threads, folder, Arc::clone(stop));
    let mut found = Vec::new();
    let mut failures = 0;
    let mut progress = Said::new(starts.len());
    let tasks: Vec<(usize, Job)> =
        starts.iter().map(|start| start.start.clone()).enumerate().collect();
    let measure =
        |worker, (place, job): (usize, Job)| (place, signal::of_job(&trainer, worker, &job));
    shared_out(tasks, workers, stop, measure, |(place, result)| {
        progress.one_more();
        match result {
            Ok(layers) => found.push((place, layers)),
            Err(Stop::Failed { error, .. }) => {
                failures += 1;
                say(&format!("failed: job {}: {}", starts[place].jobs[0].id(), one_line(&error)));
            }
            Err(Stop::Interrupted) => {}
        }
        true
    });
    if found.len() + failures < starts.len() {
        say("interrupted; nothing was written");
        return Ok(EXIT_INTERRUPTED);
    }
    if found.is_empty() {
        say("no network could be measured; nothing was written");
        return Ok(EXIT_UNFINISHED);
    }
    found.sort_by_key(|(place, _)| *place);
    let measured: Vec<Measured> = found
        .into_iter()
        .map(|(place, layers)| {
            let job = &starts[place].start;
            Measured {
                job: starts[place].jobs.first().map(Job::id),
                net: nets[place].clone(),
                init: job.init.name().to_owned(),
                theory: match job.arch {
                    Arch::Mlp { .. } => Theory::Level,
                    _ => Theory::None,
                },
                init_seed: job.init_seed,
                data_seed: Some(job.data_seed),
                layers,
            }
        })
        .collect();
    let csv = csv(&measured)?;
    let title = format!("{}: signals at initialization", grid.name);
    let about = "Norms by layer, of the networks from which the grid's jobs start, on one mini-batch of \
                 training images each.";
    write(&out, &csv, &signal_page(&title, about, &figures(&measured), &csv))?;
    document_columns(&out, &[("signal.csv".to_owned(), columns())])?;
    let shown = table(&measured).text(STYLE);
    console::print(&format!("{shown}{}\n", out.join("signal.html").display()))?;
    Ok(if failures > 0 { EXIT_UNFINISHED } else { 0 })
}

/// Keeps the jobs that are asked for.
fn chosen(jobs: &mut Vec<PlannedJob>, wanted: &[JobId]) -> anyhow::Result<()> {
    let planned: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
    if let Some(id) = wanted.iter().find(|id| !planned.contains(id)) {
        return Err(UsageError(anyhow!(
            "--job {id}: the grid has no such job; `wninit plan GRID --list` shows those that it has"
        ))
        .into());
    }
    if !wanted.is_empty() {
        jobs.retain(|job| wanted.contains(&job.id));
    }
    Ok(())
}

/// What tells the networks of starts apart, initializer and seeds aside.
fn net_names(starts: &Plan) -> Vec<String> {
    let aside = ["init", "seed", "init_seed", "data_seed", "model"];
    let mut fields = starts.varying();
    fields.retain(|field| !aside.contains(&field.name));
    starts
        .jobs
        .iter()
        .map(|planned| {
            let mut name = planned.job.arch.name().name().to_owned();
            for field in &fields {
                if let Some(value) = field.get(&planned.job) {
                    let _ = write!(name, " {}={value}", field.name);
                }
            }
            name
        })
        .collect()
}

fn make(out: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| {
        format!("cannot make the folder {}; choose another with --out", out.display())
    })
}

fn write(out: &std::path::Path, csv: &[u8], page: &str) -> anyhow::Result<()> {
    write_atomically(&out.join("signal.csv"), csv)?;
    write_atomically(&out.join("signal.html"), page.as_bytes())?;
    Ok(())
}

/// The columns of `signal.csv`.
fn columns() -> Vec<ColumnDoc> {
    let column = |name, unit, meaning, empty| ColumnDoc { name, unit, meaning, empty };
    let lost = "not a finite number";
    vec![
        column("job_id", "", "the first job of the plan that starts so", "a synthetic network"),
        column(
            "net",
            "",
            "the network: the synthetic one, or what tells it from the grid's others",
            "",
        ),
        column("init", "", "the initializer", ""),
        column("init_seed", "", "seed of the initial parameters", ""),
        column("data_seed", "", "seed of the images", "a synthetic network"),
        column("layer", "", "0 for the input, then 1, 2, ... to the last hidden layer", ""),
        column("name", "", "the layer's name", ""),
        column("forward_norm", "", "mean over samples of the norm of what leaves the layer", lost),
        column("forward_ratio", "", "mean over samples of that norm divided by the input's", lost),
        column(
            "backward_norm",
            "",
            "mean over samples of the norm of the gradient with respect to what leaves the layer",
            lost,
        ),
        column(
            "backward_ratio",
            "",
            "mean over samples of that norm divided by the last hidden layer's",
            lost,
        ),
    ]
}

fn csv(measured: &[Measured]) -> anyhow::Result<Vec<u8>> {
    let mut rows = Vec::new();
    for run in measured {
        for layer in &run.layers {
            rows.push(vec![
                run.job.map(|id| id.to_string()).into(),
                run.net.clone().into(),
                run.init.clone().into(),
                Datum::Text(run.init_seed.to_string()),
                run.data_seed.map(|seed| seed.to_string()).into(),
                layer.layer.into(),
                layer.name.clone().into(),
                layer.forward_norm.into(),
                layer.forward_ratio.into(),
                layer.backward_norm.into(),
                layer.backward_ratio.into(),
            ]);
        }
    }
    let columns = columns().iter().map(|column| column.name.to_owned()).collect();
    let mut text = Vec::new();
    Table { name: "signal", columns, rows }
        .write_csv(&mut text)
        .context("cannot write signal.csv")?;
    Ok(text)
}

/// The initializers of a network, with the runs of their seeds.
type ByInit<'a> = Vec<(&'a str, Vec<&'a Measured>)>;

/// Networks and initializers in the order in which they first appear, with their seeds' runs.
fn groups(measured: &[Measured]) -> Vec<(&str, ByInit<'_>)> {
    let mut nets: Vec<(&str, ByInit)> = Vec::new();
    for run in measured {
        let net = place(&mut nets, &run.net);
        place(net, &run.init).push(run);
    }
    nets
}

/// The entry of a name, made if there is none.
fn place<'m, 'a, T: Default>(entries: &'m mut Vec<(&'a str, T)>, name: &'a str) -> &'m mut T {
    let found = entries.iter().position(|(other, _)| *other == name);
    let at = found.unwrap_or_else(|| {
        entries.push((name, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}

fn figures(measured: &[Measured]) -> Vec<Figure> {
    let mut looks: Vec<&str> = Vec::new();
    for run in measured {
        if !looks.contains(&run.init.as_str()) {
            looks.push(&run.init);
        }
    }
    groups(measured)
        .into_iter()
        .map(|(net, inits)| Figure {
            name: net.to_owned(),
            arms: inits
                .into_iter()
                .map(|(init, runs)| {
                    let layers = runs.iter().map(|run| run.layers.len()).min().unwrap_or(0);
                    let by_layer = |value: fn(&LayerSignal) -> f64| {
                        let spread = |l: usize| {
                            let values: Vec<f64> =
                                runs.iter().map(|run| value(&run.layers[l])).collect();
                            Spread::of(&values)
                        };
                        (0..layers).map(spread).collect()
                    };
                    Arm {
                        init: init.to_owned(),
                        look: looks.iter().position(|other| *other == init).unwrap_or(0),
                        forward: by_layer(|layer| layer.forward_ratio),
                        backward: by_layer(|layer| layer.backward_ratio),
                    }
                })
                .collect(),
        })
        .collect()
}

const STYLE: Style = Style { width: 80, colour: false };

fn number(x: Option<f64>) -> String {
    match x {
        Some(x) if x.is_finite() && x != 0.0 && !(1e-3..1e4).contains(&x) => format!("{x:.1e}"),
        Some(x) if x.is_finite() => significant(x, 3),
        _ => "–".to_owned(),
    }
}

/// A row a network and initializer: means over seeds.
fn table(measured: &[Measured]) -> Display {
    let mut rows = Vec::new();
    for (net, inits) in groups(measured) {
        for (init, runs) in inits {
            let mean = |value: &dyn Fn(&Measured) -> Option<f64>| {
                stats::mean(&runs.iter().filter_map(|run| value(run)).collect::<Vec<_>>())
            };
            let forward = |run: &Measured| -> Vec<f64> {
                run.layers.iter().skip(1).map(|layer| layer.forward_ratio).collect()
            };
            let last = mean(&|run| forward(run).last().copied());
            let low = mean(&|run| forward(run).into_iter().reduce(f64::min));
            let high = mean(&|run| forward(run).into_iter().reduce(f64::max));
            let back = mean(&|run| run.layers.get(1).map(|layer| layer.backward_ratio));
            let theory = runs.first().map_or(Theory::None, |run| run.theory);
            let verdict = match (theory.bounds(), last, back) {
                (Some((low, high)), Some(last), Some(back)) => {
                    let inside = |x: f64| (low..=high).contains(&x);
                    if inside(last) && inside(back) { "yes" } else { "no" }
                }
                _ => "–",
            };
            rows.push(vec![
                net.to_owned(),
                init.to_owned(),
                runs.len().to_string(),
                number(last),
                number(low),
                number(high),
                number(back),
                verdict.to_owned(),
            ]);
        }
    }
    Display {
        title: String::new(),
        columns: vec![
            Column::new("net"),
            Column::new("init"),
            Column::number("n"),
            Column::number("last"),
            Column::number("min"),
            Column::number("max"),
            Column::number("backward"),
            Column::new("in bounds").or("bounds"),
        ],
        keys: 2,
        rows,
    }
}

/// Says on stderr how far a command is, now and then.
struct Said {
    done: usize,
    all: usize,
    at: std::time::Instant,
}

impl Said {
    fn new(all: usize) -> Said {
        Said { done: 0, all, at: std::time::Instant::now() }
    }

    fn one_more(&mut self) {
        self.done += 1;
        if self.at.elapsed().as_secs() >= 5 {
            self.at = std::time::Instant::now();
            say(&format!("{}/{} networks", self.done, self.all));
        }
    }
}
