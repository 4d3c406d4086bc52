//! A job's result depends on the job alone: not on its neighbours in a cohort, not on recomputation, and
//! without batch norm not on micro-batches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::again;
use crate::skip::skip;
use rand::Rng;
use rand::seq::IndexedRandom;
use tch::Device;
use wninit_core::execution::Recompute;
use wninit_core::job::{Draft, Field, Job, Value};
use wninit_core::plan::cohort::Cohort;
use wninit_core::results::{Outcome, Record, equal_results};
use wninit_core::rng::{self, Stream};
use wninit_core::run::trainer::{Event, Trainer};
use wninit_torch::train::Libtorch;

fn train_on(device: Device, jobs: &[Job], recompute: Recompute) -> Vec<Record> {
    let mut trainer =
        Libtorch::new(vec![device], PathBuf::from("no data needed"), Arc::default(), "test");
    trainer.recompute = recompute;
    let mut records = Vec::new();
    let cohort = Cohort::new(jobs.to_vec());
    trainer
        .train(0, &cohort, &mut |event| match event {
            Event::Finished(record) => records.push(*record),
            Event::Note(note) => panic!("{jobs:?}: {note}"), // such as a failed CUDA graph
            Event::Progress(_) => {}
        })
        .unwrap_or_else(|stop| panic!("{jobs:?}: {stop:?}"));
    let place = |record: &Record| jobs.iter().position(|job| *job == record.job);
    records.sort_by_key(place);
    assert_eq!(records.len(), jobs.len(), "every member has a record");
    records
}

fn train(jobs: &[Job], recompute: Recompute) -> Vec<Record> {
    train_on(Device::Cpu, jobs, recompute)
}

fn draft(settings: &[(&str, &str)]) -> Draft {
    let mut draft = Draft::default();
    for (name, text) in settings {
        Field::named(name).unwrap().set(&mut draft, &Value::Text((*text).to_owned())).unwrap();
    }
    draft
}

/// A random small network and data set.
fn any_shape(stream: &mut Stream) -> Vec<(&'static str, String)> {
    let mut pick = |choices: &[&str]| (*choices.choose(stream).unwrap()).to_owned();
    let model = pick(&["mlp", "mlp", "cnn", "resnet", "resnet", "wrn"]);
    let residual = model == "resnet" || model == "wrn";
    let norms: &[&str] =
        if residual { &["weight", "weight", "batch", "none"] } else { &["weight", "none"] };
    let mut shape = vec![
        ("dataset", "synthetic".to_owned()),
        ("synthetic_shape", pick(&["1x8x8", "3x9x7", "3x8x8"])),
        ("synthetic_classes", pick(&["3", "10"])),
        ("synthetic_images", pick(&["50", "77"])),
        ("augment", pick(&["none", "crop_flip", "crop_flip_cutout"])),
        ("norm", pick(norms)),
        ("batch_size", pick(&["7", "16"])),
        ("epochs", pick(&["1", "3"])),
        ("precision", pick(&["fp32", "fp32", "bf16"])),
    ];
    match model.as_str() {
        "mlp" => {
            shape.extend([("depth", pick(&["1", "3", "12"])), ("width", pick(&["5", "16", "33"]))])
        }
        "cnn" => shape.extend([("depth", pick(&["1", "3"])), ("width", pick(&["3", "8"]))]),
        "resnet" => shape.extend([("blocks", pick(&["1", "2"])), ("width", pick(&["2", "4"]))]),
        _ => {
            shape.extend([("blocks", "1".to_owned()), ("reduced_memory", pick(&["true", "false"]))])
        }
    }
    if residual && pick(&["plain", "scaled"]) == "scaled" {
        shape.push(("branch_scale", "0".to_owned()));
    }
    let activations = ["relu", "relu", "leaky_relu", "tanh", "gelu", "selu", "linear"];
    shape.extend([("activation", pick(&activations)), ("model", model)]);
    shape
}

/// A random job of that shape; one in four diverges.
fn any_member(shape: &[(&str, String)], stream: &mut Stream) -> Job {
    let shape: Vec<(&str, &str)> =
        shape.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let weight_norm = shape.contains(&("norm", "weight"));
    let residual = shape.contains(&("model", "resnet")) || shape.contains(&("model", "wrn"));
    loop {
        let direction = ["he", "orthogonal", "delta_orthogonal"].choose(stream).unwrap();
        let gains = ["", "_datadep", "_proposed", "_proposed_backward", "_hanin", "_lsuv"];
        let gain = gains.choose(stream).unwrap();
        if (!weight_norm && !gain.is_empty()) || (!residual && *gain == "_hanin") {
            continue;
        }
        let seed = stream.random_range(0..1000).to_string();
        let member = [
            ("init", &*format!("{direction}{gain}")),
            ("lr", *["0.01", "0.05", "0.1", "1e30"].choose(stream).unwrap()),
            ("momentum", *["0", "0.5", "0.9"].choose(stream).unwrap()),
            ("weight_decay", *["0", "0.001"].choose(stream).unwrap()),
            ("schedule", *["constant", "thirds", "wrn"].choose(stream).unwrap()),
            ("seed", &seed),
        ];
        let mut fields = [&shape[..], &member[..]].concat();
        if fields.iter().any(|(name, _)| *name == "branch_scale") {
            fields.push(("branch_scale", ["0", "0.7"].choose(stream).unwrap()));
        }
        return draft(&fields).resolve().unwrap();
    }
}

#[test]
fn a_job_has_the_same_result_to_the_last_bit_alone_and_beside_any_neighbours() {
    let mut stream = rng::stream(7, "stacked equals alone", 0);
    let mut diverged = 0;
    for case in 0..40 {
        let shape = any_shape(&mut stream);
        let members = stream.random_range(2..=5);
        let jobs: Vec<Job> = (0..members).map(|_| any_member(&shape, &mut stream)).collect();
        let together = train(&jobs, Recompute::Off);
        for (job, stacked) in jobs.iter().zip(&together) {
            let alone = train(std::slice::from_ref(job), Recompute::Off).remove(0);
            diverged += usize::from(alone.outcome == Outcome::Diverged);
            assert!(
                equal_results(&alone, stacked),
                "case {case}: {shape:?}\nalone {alone:?}\nstacked {stacked:?}"
            );
        }
    }
    assert!(diverged >= 10, "only {diverged} members diverged: the test has lost its neighbours");
}

/// The reason of a divergence, or `ok`, and its epoch.
type TrainingEnd = (String, Option<u32>);

fn ending(record: &Record) -> TrainingEnd {
    (record.reason.clone().unwrap_or("ok".to_owned()), record.diverged_epoch)
}

/// Trains jobs of which some end together, and compares with the rows that they have alone.
fn assert_as_alone(alone: &[&Record]) {
    let jobs: Vec<Job> = alone.iter().map(|record| record.job.clone()).collect();
    for recompute in [Recompute::Off, Recompute::On] {
        for (stacked, alone) in train(&jobs, recompute).iter().zip(alone) {
            assert!(equal_results(alone, stacked), "alone {alone:?}\nstacked {stacked:?}");
            assert_eq!(alone.epochs.len(), stacked.epochs.len(), "{alone:?}\n{stacked:?}");
        }
    }
}

#[test]
fn members_that_end_in_the_same_step_have_the_rows_that_they_have_alone() {
    // Few images, so that an epoch is one to three steps, and learning rates up to the largest numbers.
    let common: &[(&str, &str)] =
        &[("dataset", "synthetic"), ("synthetic_images", "30"), ("epochs", "3")];
    let residual: &[(&str, &str)] =
        &[("model", "resnet"), ("blocks", "1"), ("width", "2"), ("batch_size", "9")];
    let plain: &[(&str, &str)] = &[("norm", "none"), ("depth", "1"), ("width", "4")];
    let one_to_validate: &[(&str, &str)] = &[
        ("epochs", "1"),
        ("synthetic_images", "500"),
        ("val_fraction", "0.001"),
        ("train_images", "27"),
        ("batch_size", "9"),
        ("init", "he"),
    ];
    let shapes = [
        [common, &[("depth", "2"), ("width", "4"), ("batch_size", "27")]].concat(),
        [common, &[("depth", "2"), ("width", "4"), ("batch_size", "9"), ("micro_batch", "4")]]
            .concat(),
        [common, plain, &[("batch_size", "9")]].concat(),
        [common, plain, &[("batch_size", "27")]].concat(),
        // One image to validate on and many to test on.
        [common, plain, one_to_validate].concat(),
        [common, residual, &[("norm", "batch"), ("augment", "crop_flip")]].concat(),
        [common, residual, &[("norm", "batch"), ("micro_batch", "4")]].concat(),
        [common, residual, &[("augment", "crop_flip_cutout")]].concat(),
    ];
    let mut seen: BTreeMap<TrainingEnd, usize> = BTreeMap::new();
    for shape in shapes {
        let job = |exponent: f64, seed: &str| {
            let lr = format!("{:e}", 10_f64.powf(exponent));
            draft(&[&shape[..], &[("lr", &lr), ("seed", seed)]].concat()).resolve().unwrap()
        };
        // The jobs by how they end.
        let mut endings: BTreeMap<TrainingEnd, Vec<Record>> = BTreeMap::new();
        for step in -4..=152 {
            for seed in ["0", "1"] {
                let record = train(&[job(f64::from(step) / 4.0, seed)], Recompute::Off).remove(0);
                endings.entry(ending(&record)).or_default().push(record);
            }
        }
        let survivor = endings.get(&("ok".to_owned(), None)).expect("a run that trains")[0].clone();
        for (ending, records) in &endings {
            *seen.entry(ending.clone()).or_default() += 1;
            let together: Vec<&Record> = records.iter().take(3).collect();
            assert_as_alone(&together);
            if survivor.reason != records[0].reason {
                assert_as_alone(&[&together[..], &[&survivor]].concat());
            }
        }
    }
    println!("{seen:#?}");
    for (reason, epochs) in
        [("loss", &[1, 2, 3][..]), ("validation loss", &[1, 2]), ("parameters", &[1, 2, 3])]
    {
        for &epoch in epochs {
            let ending = (reason.to_owned(), Some(epoch));
            assert!(seen.contains_key(&ending), "no run ended with {ending:?}: {seen:?}");
        }
    }
    let tested = ("test loss".to_owned(), Some(1));
    assert!(seen.contains_key(&tested), "no run ended with {tested:?}: {seen:?}");
}

#[test]
fn recomputation_changes_no_result() {
    let mut stream = rng::stream(8, "recompute", 0);
    for _ in 0..20 {
        let shape = any_shape(&mut stream);
        let jobs: Vec<Job> = (0..2).map(|_| any_member(&shape, &mut stream)).collect();
        let (kept, again) = (train(&jobs, Recompute::Off), train(&jobs, Recompute::On));
        assert!(
            kept.iter().zip(&again).all(|(a, b)| equal_results(a, b)),
            "{shape:?}\n{kept:?}\n{again:?}"
        );
    }
}

#[test]
fn without_batch_norm_micro_batches_add_up_to_the_full_batch() {
    let mut stream = rng::stream(9, "micro batch", 0);
    let mut compared = 0;
    while compared < 12 {
        let mut shape = any_shape(&mut stream);
        shape.retain(|(name, _)| *name != "precision");
        if shape.contains(&("norm", "batch".to_owned())) {
            continue;
        }
        let full = any_member(&shape, &mut stream);
        if full.lr > 1.0 {
            continue;
        }
        let parts = full.with(&[("micro_batch", Value::Integer(3))]).unwrap();
        let [full, parts] = [full, parts].map(|job| train(&[job], Recompute::Off).remove(0));
        assert_eq!(full.epochs.len(), parts.epochs.len(), "{shape:?}");
        if full.epochs.is_empty() {
            continue; // it diverged at once: there is nothing to compare
        }
        for (a, b) in full.epochs.iter().zip(&parts.epochs) {
            let close = (a.train_loss - b.train_loss).abs() <= 1e-3 * a.train_loss.abs().max(1e-3);
            assert!(close, "{shape:?}\n{a:?}\n{b:?}");
        }
        compared += 1;
    }
}

#[test]
fn a_job_that_diverges_is_tested_with_the_parameters_of_its_best_epoch() {
    let with = |settings: &[(&str, &str)]| {
        let base = [
            ("dataset", "digits"),
            ("model", "mlp"),
            ("depth", "3"),
            ("width", "16"),
            ("norm", "none"),
            ("init", "he"),
            ("batch_size", "256"),
            ("lr", "0.01"),
            ("momentum", "0"),
            ("epochs", "9"),
            ("seed", "2"),
        ];
        draft(&[&base[..], settings].concat()).resolve().unwrap()
    };
    let neighbour = with(&[("weight_decay", "0")]);
    // Each step multiplies the weights by 1 - 0.01 * 210, so it takes some epochs.
    let diverging = with(&[("weight_decay", "210")]);
    let late = train(&[neighbour, diverging], Recompute::Off).remove(1);
    assert_eq!(late.outcome, Outcome::Diverged);
    let done = late.epochs_done;
    assert!(done > late.best_epoch.unwrap(), "the last epoch is not the best: {late:?}");
    let stopped = late.job.with(&[("epochs", Value::Integer(done.into()))]).unwrap();
    let stopped = train(&[stopped], Recompute::Off).remove(0);
    assert_eq!(stopped.outcome, Outcome::Ok, "{stopped:?}");
    assert!(stopped.test_acc.is_some());
    assert_eq!((late.test_loss, late.test_acc), (stopped.test_loss, stopped.test_acc));
}

#[test]
fn a_very_deep_network_trains_without_a_deep_stack() {
    let deep = draft(&[
        ("dataset", "synthetic"),
        ("synthetic_shape", "1x4x4"),
        ("synthetic_images", "12"),
        ("synthetic_classes", "2"),
        ("model", "wrn"),
        ("blocks", "400"),
        ("reduced_memory", "true"),
        ("batch_size", "2"),
        ("lr", "0.0001"),
        ("train_images", "4"),
    ]);
    // 2,404 layers. libtorch needs 300 kB of stack; another 200 bytes per layer would overflow it.
    let job = deep.resolve().unwrap();
    let small = std::thread::Builder::new().stack_size(768 << 10);
    let thread = small.spawn(move || train(&[job], Recompute::On).remove(0)).unwrap();
    let record = thread.join().unwrap();
    assert_eq!(record.outcome, Outcome::Ok, "{record:?}");
}

#[test]
fn evaluations_in_many_batches_are_the_same_in_any_stack() {
    // 12 batches of validation images, and as many of test images.
    let shape: Vec<(&str, String)> = [
        ("dataset", "synthetic"),
        ("synthetic_images", "6000"),
        ("val_fraction", "0.5"),
        ("model", "mlp"),
        ("depth", "1"),
        ("width", "4"),
        ("epochs", "2"),
        ("batch_size", "500"),
    ]
    .map(|(name, text)| (name, text.to_owned()))
    .to_vec();
    let mut stream = rng::stream(11, "evaluations", 0);
    let jobs: Vec<Job> = (0..6).map(|_| any_member(&shape, &mut stream)).collect();
    let together = train(&jobs, Recompute::Off);
    for (job, stacked) in jobs.iter().zip(&together) {
        let alone = train(std::slice::from_ref(job), Recompute::Off).remove(0);
        assert!(equal_results(&alone, stacked), "{alone:?}\n{stacked:?}");
    }
}

#[test]
fn on_a_gpu_stacked_alone_and_the_cpu_agree_within_rounding() {
    let gpu = Device::cuda_if_available();
    if gpu == Device::Cpu {
        return skip("gpu", "run it on a machine with a GPU");
    }
    let mut stream = rng::stream(10, "gpu", 0);
    let mut different = Vec::new();
    for _ in 0..20 {
        let mut shape = any_shape(&mut stream);
        shape.retain(|(name, _)| *name != "precision");
        // A small rate does not amplify rounding. One that overflows ends as NaN on one device and as
        // 0 on another, so such a member is a neighbour only.
        let overflows = |job: &Job| job.lr > 1.0;
        let jobs = (0..4).map(|_| any_member(&shape, &mut stream)).map(|job| {
            let small = job.with(&[("lr", Value::Float(1e-3))]).unwrap();
            if overflows(&job) { job } else { small }
        });
        let jobs: Vec<Job> = jobs.collect();
        let together = train_on(gpu, &jobs, Recompute::Off);
        for (job, stacked) in jobs.iter().zip(&together).filter(|(job, _)| !overflows(job)) {
            for device in [gpu, Device::Cpu] {
                let alone = train_on(device, std::slice::from_ref(job), Recompute::Off).remove(0);
                let losses = [&alone, stacked].map(|record| {
                    record.epochs.iter().map(|row| row.train_loss).collect::<Vec<f64>>()
                });
                let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-3 * a.abs().max(1e-3);
                if alone.outcome != stacked.outcome
                    || losses[0].len() != losses[1].len()
                    || !losses[0].iter().zip(&losses[1]).all(close)
                {
                    different.push(format!("alone on {device:?}, {losses:?}: {shape:?} {job:?}"));
                }
            }
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn all_of_it_holds_on_a_cpu_without_avx512() {
    again::all(module_path!(), again::AVX2);
}
