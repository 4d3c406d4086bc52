//! `wninit curvature` finds the Hessian's largest eigenvalue, in a stack as alone, and computes nothing
//! twice.

use std::fs;

use crate::program::{Process, Row, Sandbox, output};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use tch::{Device, Kind, Tensor};
use wninit_core::data::Moments;
use wninit_core::job::{Augment, Draft, Job, Value};
use wninit_core::results::CurvatureMethod;
use wninit_core::rng;
use wninit_torch::models::{Model, ModelConfig};
use wninit_torch::nn::Arithmetic;
use wninit_torch::probe::curvature::Hessian;
use wninit_torch::probe::eigen::{Eigen, SolverOptions, dominant};
use wninit_torch::train::augment::Preprocess;
use wninit_torch::train::{DeviceData, DeviceImages};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn job(changes: &[(&str, &str)]) -> Job {
    let changes: Vec<_> =
        changes.iter().map(|(name, value)| (*name, Value::Text((*value).to_owned()))).collect();
    let draft =
        Draft { synthetic_shape: Some([1, 4, 4]), synthetic_classes: Some(3), ..Draft::default() };
    let synthetic =
        Draft { dataset: Some("synthetic".parse().unwrap()), synthetic_images: Some(60), ..draft };
    synthetic.resolve().unwrap().with(&changes).unwrap()
}

fn data(job: &Job) -> DeviceData {
    let [c, h, w] = job.dataset.shape().map(|size| size as i64);
    let images = |purpose| {
        let mut stream = rng::stream(3, purpose, 0);
        let pixels: Vec<u8> = (0..60 * c * h * w).map(|_| stream.random()).collect();
        let classes = job.dataset.classes() as i64;
        let labels: Vec<i64> = (0..60).map(|_| stream.random_range(0..classes)).collect();
        DeviceImages {
            pixels: Tensor::from_slice(&pixels).view([60, c, h, w]),
            labels: Tensor::from_slice(&labels),
        }
    };
    let moments = Moments { mean: vec![0.5; c as usize], std: vec![0.29; c as usize] };
    DeviceData { train: images("train"), test: images("test"), moments, test_labels: [].into() }
}

fn as_they_are(job: &Job) -> Preprocess {
    Preprocess::new(job.dataset, Augment::None, job.input, &data(job).moments, Device::Cpu)
}

/// `[n]` Gaussian numbers.
fn gaussian(n: i64, seed: u64) -> Tensor {
    let stream = rng::stream(seed, "gaussian", 0);
    let values: Vec<f32> = StandardNormal.sample_iter(stream).take(n as usize).collect();
    Tensor::from_slice(&values)
}

fn model(job: &Job) -> Model {
    in_precision(job, Kind::Float)
}

fn in_precision(job: &Job, kind: Kind) -> Model {
    tch::set_num_threads(1); // tests run beside each other, and threads that wait would spin
    let config = ModelConfig {
        arch: job.arch,
        activation: job.activation,
        norm: job.norm,
        branch_scale: job.branch_scale,
        input: job.dataset.shape().map(|size| size as i64),
        classes: job.dataset.classes() as i64,
        arithmetic: Arithmetic { device: Device::Cpu, params: kind, compute: kind },
    };
    Model::initialised(config, job.init, job.init_seed, || unreachable!("no datadep here"))
}

/// Two batches of 20 and 10 images, different for each seed.
fn images(seed: u64) -> Vec<Vec<u32>> {
    let from = 5 * seed as u32;
    vec![(from..from + 20).collect(), (from + 20..from + 30).collect()]
}

/// The Hessian in full: a column for each unit vector.
fn dense(hessian: &mut Hessian) -> Tensor {
    let n = hessian.dimension();
    let columns: Vec<Tensor> =
        (0..n).map(|i| hessian.times(&Tensor::eye(n, CPU).narrow(0, i, 1))).collect();
    Tensor::cat(&columns, 0)
}

const NETS: [&[(&str, &str)]; 5] = [
    &[("model", "mlp"), ("depth", "2"), ("width", "6")],
    &[("model", "mlp"), ("depth", "3"), ("width", "5"), ("norm", "none"), ("init", "he")],
    &[("model", "cnn"), ("depth", "2"), ("width", "3")],
    &[("model", "resnet"), ("blocks", "1"), ("width", "1"), ("norm", "batch"), ("init", "he")],
    &[("model", "cnn"), ("depth", "2"), ("width", "3"), ("activation", "gelu")],
];

#[test]
fn both_methods_find_a_dense_hessians_largest_eigenvalue() {
    for net in NETS {
        let job = job(net);
        let data = data(&job);
        let mut hessian = Hessian::new(model(&job), &data, as_they_are(&job), &[images(0)], 20);
        let n = hessian.dimension();
        assert!(n <= 400, "{net:?} has {n} parameters");
        let full = dense(&mut hessian);
        let asymmetry = (&full - full.tr()).abs().max().double_value(&[]);
        let largest = full.abs().max().double_value(&[]);
        assert!(asymmetry < 1e-3 * largest, "{net:?}: {asymmetry:e} of {largest:e}");
        let (values, _) = full.to_kind(Kind::Double).linalg_eigh("L");
        let values: Vec<f64> = Vec::try_from(values).unwrap();
        let expected = *values.iter().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        // Power iteration takes hundreds of products where another eigenvalue is nearly as large.
        let methods = if n < 200 {
            &[CurvatureMethod::Lanczos, CurvatureMethod::Power][..]
        } else {
            &[CurvatureMethod::Lanczos]
        };
        for &method in methods {
            let options = SolverOptions { method, tolerance: 1e-3, max_iterations: 500, basis: 30 };
            let start = gaussian(n, 1).unsqueeze(0);
            let found = dominant(&start, &options, |v| hessian.times(v))[0];
            let value = found.value.unwrap();
            assert!(
                (value - expected).abs() <= 1e-3 * expected.abs(),
                "{net:?} {method:?}: {found:?}, not {expected}"
            );
        }
    }
}

/// The job's network in double precision, its parameters moved by `shift`, `[n]`.
fn moved(job: &Job, shift: &Tensor) -> Model {
    let mut model = in_precision(job, Kind::Double);
    let mut from = 0;
    for param in model.params() {
        let size = param.value.size();
        let count = param.value.numel() as i64;
        let moved = &param.value + shift.narrow(0, from, count).view(&*size);
        param.value.copy_(&moved);
        from += count;
    }
    model.refresh();
    model
}

/// The gradient of the loss by the model's own backward pass, `[n]`.
fn gradient(job: &Job, data: &DeviceData, mut model: Model) -> Tensor {
    let indices: Vec<i64> = images(0)[0].iter().map(|&i| i64::from(i)).collect();
    let (pixels, labels) = data.train.gather(&Tensor::from_slice(&indices).unsqueeze(0));
    let x = as_they_are(job).eval(&pixels);
    let _ = model.train_step(&x, &labels, None, 1000, false);
    let grads = model.params().into_iter().map(|param| param.grad.take().unwrap().view(-1));
    Tensor::cat(&grads.collect::<Vec<_>>(), 0)
}

#[test]
fn a_hessian_vector_product_is_the_derivative_of_trainings_gradient() {
    for net in NETS {
        let job = job(net);
        let data = data(&job);
        let batch = vec![images(0)[0].clone()];
        let count = model(&job).params().iter().map(|param| param.value.numel() as i64).sum();
        let random = |seed| gaussian(count, seed).to_kind(Kind::Double);
        // Initial biases are 0, so behind a layer without active units a ReLU is at its kink, where there
        // is no second derivative.
        let (start, v) = (random(5) * 0.05, random(2));
        let network = moved(&job, &start);
        let mut hessian = Hessian::new(network, &data, as_they_are(&job), &[batch], 1000);
        let product = hessian.times(&v.unsqueeze(0)).squeeze();
        // Small enough that no ReLU switches.
        let eps = 1e-6;
        let slope = (gradient(&job, &data, moved(&job, &(&start + &v * eps)))
            - gradient(&job, &data, moved(&job, &(&start - &v * eps))))
            / (2.0 * eps);
        let error = (&product - &slope).norm().double_value(&[]);
        let size = product.norm().double_value(&[]);
        assert!(error < 1e-3 * size, "{net:?}: {error:e} of {size:e}");
    }
}

#[test]
fn curvatures_in_a_stack_equal_those_alone() {
    for net in [NETS[0], NETS[2], NETS[3]] {
        let members: Vec<Job> = (0..3)
            .map(|seed: u64| job(net).with(&[("seed", Value::Integer(seed as i64))]).unwrap())
            .collect();
        let data = data(&members[0]);
        let options = SolverOptions {
            method: CurvatureMethod::Lanczos,
            tolerance: 1e-3,
            max_iterations: 100,
            basis: 30,
        };
        let solve = |jobs: &[&Job], seeds: &[u64]| {
            let mut stack = Model::zeros(model(jobs[0]).config(), jobs.len() as i64);
            for (m, job) in jobs.iter().enumerate() {
                stack.set_member(m as i64, &mut model(job));
            }
            stack.refresh();
            let batches: Vec<_> = seeds.iter().map(|&seed| images(seed)).collect();
            let mut hessian = Hessian::new(stack, &data, as_they_are(jobs[0]), &batches, 20);
            let n = hessian.dimension();
            let starts: Vec<Tensor> = seeds.iter().map(|&seed| gaussian(n, seed)).collect();
            dominant(&Tensor::stack(&starts, 0), &options, |v| hessian.times(v))
        };
        let together = solve(&members.iter().collect::<Vec<_>>(), &[0, 1, 2]);
        for (m, member) in members.iter().enumerate() {
            let alone = solve(&[member], &[m as u64])[0];
            let (a, b) = (alone.value.unwrap(), together[m].value.unwrap());
            assert!((a - b).abs() < 2e-3 * a.abs(), "{net:?} {m}: {a} and {b}");
        }
        assert_ne!(together[0].value, together[1].value);
    }
}

const GRID: &str = r#"
[base]
dataset = "digits"
depth = 3
width = 12
train_images = 300
[grid]
init = ["orthogonal_datadep", "orthogonal_proposed"]
lr = [0.1, 0.01]
seed = { count = 3 }
"#;

/// The rows, without timing and provenance.
fn rows(sandbox: &Sandbox) -> Vec<Row> {
    crate::program::rows(&sandbox.sweep().join("curvature.csv"))
}

fn curvature(sandbox: &Sandbox, args: &[&str]) -> crate::program::Output {
    let mut command = sandbox.wninit(&["curvature", "grid.toml", "--device", "cpu"]);
    output(command.args(args))
}

#[test]
fn every_job_has_a_row_and_jobs_with_the_same_start_share_its_numbers() {
    let sandbox = Sandbox::new(GRID);
    let result = curvature(&sandbox, &[]);
    result.expect(0, &["6/6 networks"]);
    assert!(result.stdout.lines().all(|line| line.chars().count() <= 80), "{}", result.stdout);
    let rows = rows(&sandbox);
    let plan = crate::program::rows(&sandbox.sweep().join("plan.csv"));
    let ids = |rows: &[Row]| rows.iter().map(|row| row["job_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&rows), ids(&plan), "in the plan's order");
    for row in &rows {
        assert_eq!(row["converged"], "true");
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        assert!((number("spectral_norm") - number("eigenvalue").abs()).abs() < 1e-12);
        assert!((number("log_spectral_norm") - number("spectral_norm").ln()).abs() < 1e-9);
        let twin = rows.iter().find(|other| {
            other["job_id"] != row["job_id"]
                && ["init", "init_seed"].iter().all(|field| other[*field] == row[*field])
        });
        assert_eq!(twin.unwrap()["eigenvalue"], row["eigenvalue"]);
    }
    let mut distinct: Vec<&String> = rows.iter().map(|row| &row["eigenvalue"]).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 6);
    assert!(
        fs::read_to_string(sandbox.sweep().join("columns.json")).unwrap().contains("curvature.csv")
    );
}

#[test]
fn a_truncated_file_is_completed_to_an_uninterrupted_one() {
    let sandbox = Sandbox::new(GRID);
    curvature(&sandbox, &["--workers", "1"]).expect(0, &[]);
    let file = sandbox.sweep().join("curvature.csv");
    let (whole, text) = (rows(&sandbox), fs::read_to_string(&file).unwrap());
    // Existing rows are not computed again.
    let again = curvature(&sandbox, &[]);
    again.expect(0, &[]);
    assert!(!again.stderr.contains("networks"), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    // Without the rows of one seed.
    let seed = text.lines().next().unwrap().split(',').position(|c| c == "init_seed").unwrap();
    let kept = |line: &&str| line.split(',').nth(seed) != Some("1");
    let part: Vec<&str> = text.lines().filter(kept).collect();
    fs::write(&file, part.join("\n") + "\n").unwrap();
    curvature(&sandbox, &["--workers", "2"]).expect(0, &["2/2 networks"]);
    assert_eq!(rows(&sandbox), whole);
    // Without one row whose start has another row: that is copied, not measured.
    let part: Vec<&str> =
        text.lines().enumerate().filter(|(i, _)| *i != 2).map(|(_, l)| l).collect();
    fs::write(&file, part.join("\n") + "\n").unwrap();
    let copied = curvature(&sandbox, &[]);
    assert!(!copied.expect(0, &[]).stderr.contains("networks"), "{copied:?}");
    assert_eq!(rows(&sandbox), whole);
}

#[test]
fn another_method_adds_rows_and_more_iterations_replace_rows_that_did_not_converge() {
    let sandbox = Sandbox::new(GRID);
    let only = ["--only", "seed=0", "--only", "lr=0.1"];
    let run = |args: &[&str]| curvature(&sandbox, &[&only, args].concat());
    run(&["--method", "power", "--max-iterations", "2"]).expect(0, &[]);
    assert!(
        rows(&sandbox).iter().all(|row| row["converged"] == "false" && row["iterations"] == "2")
    );
    run(&[]).expect(0, &["2/2 networks"]);
    assert_eq!(rows(&sandbox).len(), 4);
    run(&["--method", "power", "--max-iterations", "2000"]).expect(0, &["2/2 networks"]);
    let rows = rows(&sandbox);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let same =
            rows.iter().find(|r| r["job_id"] == row["job_id"] && r["method"] != row["method"]);
        let number = |row: &Row| row["spectral_norm"].parse::<f64>().unwrap();
        let (a, b) = (number(row), number(same.unwrap()));
        assert!((a - b).abs() < 5e-3 * a, "power and Lanczos agree: {a} and {b}");
    }
}

#[test]
fn an_interrupt_loses_no_row_and_the_same_command_continues() {
    let grid = GRID.replace("count = 3", "count = 30");
    let args = ["--workers", "1", "--cohort-width", "1"];
    let sandbox = Sandbox::new(&grid);
    let mut command = sandbox.wninit(&["curvature", "grid.toml", "--device", "cpu"]);
    let mut process = Process::start(command.args(args));
    process.wait_until("the first row", |_| !rows(&sandbox).is_empty());
    process.signal(libc::SIGINT);
    process.output().expect(130, &["interrupted", "are left"]);
    let before = rows(&sandbox);
    assert!((2..120).contains(&before.len()), "{} rows", before.len());
    curvature(&sandbox, &args).expect(0, &["more are known"]);
    let after = rows(&sandbox);
    assert!(before.iter().all(|row| after.contains(row)));
    let whole = Sandbox::new(&grid);
    curvature(&whole, &args).expect(0, &[]);
    assert_eq!(after, rows(&whole));
}

#[test]
fn missing_data_is_found_before_anything_is_measured() {
    let sandbox = Sandbox::new("[base]\ndepth = 2\n[grid]\ndataset = [\"cifar10\", \"digits\"]\n");
    let result = curvature(&sandbox, &["--data", "nowhere"]);
    result.expect(2, &["cifar10", "nowhere", "wninit fetch"]);
    assert!(!sandbox.sweep().join("curvature.csv").exists());
}

#[test]
fn a_claim_about_curvature_is_decided_without_training() {
    let claims = r#"
[[claim]]
text = "The proposed gain starts where the loss is flatter."
metric = "log_spectral_norm"
compare = { axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep" }
[[claim]]
text = "All logarithms are below 100."
metric = "log_spectral_norm"
at_most = 100
[[published]]
where = { init = "orthogonal_proposed" }
metric = "log_spectral_norm"
value = 1.31
spread = 0.12
"#;
    let sandbox = Sandbox::new(&format!("{GRID}{claims}"));
    curvature(&sandbox, &["--workers", "2"]).expect(0, &[]);
    let summary = output(&mut sandbox.wninit(&["summary", "results/sweep"]));
    summary.expect(0, &[]);
    let csv = |file: &str| crate::program::rows(&sandbox.sweep().join("summary").join(file));
    let claims = csv("claims.csv");
    let logs = |init: &str| -> Vec<f64> {
        let rows = rows(&sandbox).into_iter().filter(|r| r["init"] == init && r["lr"] == "0.1");
        rows.map(|row| row["log_spectral_norm"].parse().unwrap()).collect()
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (ours, theirs) = (logs("orthogonal_proposed"), logs("orthogonal_datadep"));
    let number = |row: &Row, column: &str| row[column].parse::<f64>().unwrap();
    // Three seeds, though each has two learning rates; lower is better.
    assert_eq!(claims[0]["n"], "3");
    assert!((number(&claims[0], "estimate") - (mean(&theirs) - mean(&ours))).abs() < 1e-9);
    assert_eq!(claims[1]["verdict"], "supported", "{claims:?}");
    let published = csv("published.csv");
    assert!(
        published[0]
            .values()
            .any(|cell| { cell.parse::<f64>().is_ok_and(|x| (x - mean(&ours)).abs() < 1e-9) }),
        "{published:?}"
    );
}

#[test]
fn invalid_numbers_an_edited_file_and_a_locked_folder_end_with_exit_code_2() {
    let sandbox = Sandbox::new(GRID);
    for args in
        [["--share", "0"], ["--share", "1.5"], ["--tolerance", "0"], ["--max-iterations", "0"]]
    {
        curvature(&sandbox, &args).expect(2, &[args[0]]);
    }
    assert!(!sandbox.sweep().exists(), "nothing was made");
    curvature(&sandbox, &["--only", "seed=0"]).expect(0, &[]);
    let file = sandbox.sweep().join("curvature.csv");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("lanczos", "magic", 1)).unwrap();
    curvature(&sandbox, &[]).expect(2, &["curvature.csv:2", "magic"]);
    let lock = fs::File::open(sandbox.sweep().join(".lock")).unwrap();
    lock.lock().unwrap();
    curvature(&sandbox, &[]).expect(2, &["in use"]);
}

fn search(method: CurvatureMethod) -> SolverOptions {
    SolverOptions { method, tolerance: 1e-3, max_iterations: 500, basis: 24 }
}

/// A symmetric matrix with these eigenvalues, in a random basis.
fn symmetric(spectrum: &[f64], seed: u64) -> Tensor {
    let n = spectrum.len() as i64;
    let square = gaussian(n * n, seed).view([n, n]).to_kind(Kind::Double);
    let (q, _) = Tensor::linalg_qr(&square, "reduced");
    let values = Tensor::from_slice(spectrum);
    (&q * values.unsqueeze(0)).matmul(&q.tr()).to_kind(Kind::Float)
}

/// The dominant eigenvalues of matrices of one size, as a stack.
fn solve(matrices: &[Tensor], options: &SolverOptions) -> Vec<Eigen> {
    let stack = Tensor::stack(matrices, 0);
    let n = stack.size()[1];
    // A member's start depends on its matrix alone.
    let starts: Vec<Tensor> = matrices
        .iter()
        .map(|matrix| gaussian(n, (matrix.double_value(&[0, 0]).abs() * 1e6) as u64))
        .collect();
    dominant(&Tensor::stack(&starts, 0), options, |x| stack.bmm(&x.unsqueeze(2)).squeeze_dim(2))
}

/// 300 eigenvalues between -1 and 1 and these.
fn spectrum(outliers: &[f64]) -> Vec<f64> {
    let bulk = (0..300).map(|i| f64::from(i) / 150.0 - 1.0);
    bulk.chain(outliers.iter().copied()).collect()
}

fn assert_near(found: &Eigen, expected: f64) {
    let value = found.value.unwrap_or(f64::NAN);
    assert!((value - expected).abs() <= 1e-3 * expected.abs(), "{found:?}, not {expected}");
    assert!(found.converged, "{found:?}");
}

#[test]
fn nearly_equal_eigenvalues_are_solved() {
    for pair in [[5.0, 4.9995], [5.0, 5.0], [-5.0, -4.9995]] {
        for method in [CurvatureMethod::Lanczos, CurvatureMethod::Power] {
            let found = solve(&[symmetric(&spectrum(&pair), 3)], &search(method));
            assert_near(&found[0], pair[0]);
        }
    }
    // Opposite signs are far apart for Lanczos' method; power iteration cannot separate them.
    let opposite = [symmetric(&spectrum(&[5.0, -4.99]), 4)];
    assert_near(&solve(&opposite, &search(CurvatureMethod::Lanczos))[0], 5.0);
    assert!(!solve(&opposite, &search(CurvatureMethod::Power))[0].converged);
}

#[test]
fn a_slowly_falling_spectrum_is_solved_through_many_restarts() {
    let spectrum: Vec<f64> = (1..400).map(|i| -1.0 / f64::from(i).sqrt()).collect();
    let small = SolverOptions { basis: 6, ..search(CurvatureMethod::Lanczos) };
    let found = solve(&[symmetric(&spectrum, 5)], &small);
    assert_near(&found[0], -1.0);
    assert!(found[0].iterations > 6, "{found:?}");
}

#[test]
fn a_hessian_of_zeros_has_the_spectral_norm_0() {
    for method in [CurvatureMethod::Lanczos, CurvatureMethod::Power] {
        let found = solve(&[Tensor::zeros([50, 50], CPU)], &search(method));
        let zero = Eigen { value: Some(0.0), residual: Some(0.0), iterations: 1, converged: true };
        assert_eq!(found, [zero]);
    }
}

#[test]
fn the_smallest_matrices_are_solved_exactly() {
    for n in 1..6 {
        let spectrum: Vec<f64> = (0..n).map(|i| f64::from(i) - 3.5).collect();
        let found = solve(&[symmetric(&spectrum, 6)], &search(CurvatureMethod::Lanczos));
        assert_near(&found[0], -3.5);
    }
}

#[test]
fn a_member_of_a_stack_equals_itself_alone_even_beside_zeros_and_infinities() {
    let one = symmetric(&spectrum(&[5.0]), 7);
    let other = symmetric(&spectrum(&[-2.0]), 8);
    let zero = one.zeros_like();
    let infinite = &one * f64::INFINITY;
    for method in [CurvatureMethod::Lanczos, CurvatureMethod::Power] {
        let options = search(method);
        let stack = [&one, &zero, &infinite, &other].map(Tensor::shallow_clone);
        let together = solve(&stack, &options);
        for (m, matrix) in stack.iter().enumerate() {
            let alone = solve(&[matrix.shallow_clone()], &options)[0];
            let (a, b) = (alone.value, together[m].value);
            let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-4 * a.abs();
            assert!(a.zip(b).is_none_or(near) && a.is_some() == b.is_some(), "{a:?} {b:?}");
            assert_eq!(alone.converged, together[m].converged);
        }
        assert_eq!((together[2].value, together[2].converged), (None, false));
    }
}

#[test]
fn an_estimate_that_did_not_converge_is_marked() {
    let few = SolverOptions { max_iterations: 3, ..search(CurvatureMethod::Lanczos) };
    let found = solve(&[symmetric(&spectrum(&[]), 9)], &few);
    assert_eq!((found[0].converged, found[0].iterations), (false, 3));
}
