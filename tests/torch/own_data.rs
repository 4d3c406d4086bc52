//! Training on a user's own file: the same numbers give the same rows, wherever they come from.

use std::fs;
use std::path::Path;

use wninit_core::data::{Images, load};
use wninit_core::job::{Dataset, DatasetName};
use wninit_core::rng;

use crate::npz::{bytes, floats, labels, npz};
use crate::program::{Results, Row, Sandbox, output};

const GRID: &str = "[base]\nDATA\nwidth = 16\nepochs = 2\n[grid]\ndepth = [2]\naugment = [\"none\", \"crop_flip_cutout\"]\n\
                    init = [\"he_datadep\", \"orthogonal_proposed\"]\ntest_images = [100, 360]\n";

fn finished(data: &str, file: Option<&[u8]>) -> Sandbox {
    let sandbox = Sandbox::new(&GRID.replace("DATA", data));
    if let Some(file) = file {
        fs::write(sandbox.path("my.npz"), file).unwrap();
    }
    output(&mut sandbox.run(&["--workers", "2"])).expect(0, &[]);
    sandbox
}

/// Rows without the columns that say which data set it is.
fn rows(results: &Results) -> Vec<Row> {
    let is_about_data = |name: &str| {
        name == "job_id" || name == "dataset" || name.starts_with("data_") && name != "data_seed"
    };
    let without =
        |row: &Row| row.clone().into_iter().filter(|(name, _)| !is_about_data(name)).collect();
    let mut rows: Vec<Row> =
        results.runs.values().chain(results.epochs.values()).map(without).collect();
    rows.sort();
    rows
}

#[test]
fn the_digits_from_a_file_give_the_rows_of_the_digits_to_the_last_bit() {
    let digits = load(Dataset::Named(DatasetName::Digits), Path::new("")).unwrap();
    let set =
        |images: &Images| (bytes(&[images.len(), 8, 8], &images.pixels), labels(&images.labels));
    let ((x_train, y_train), (x_test, y_test)) = (set(&digits.train), set(&digits.test));
    let arrays =
        [("x_train", x_train), ("y_train", y_train), ("x_test", x_test), ("y_test", y_test)];
    let file = npz(&arrays, true);
    let own = finished("dataset = \"file\"\npath = \"my.npz\"", Some(&file));
    let known = finished("dataset = \"digits\"", None).results();
    assert_eq!(known.runs.len(), 8);
    for row in known.runs.values() {
        let share = match &*row["test_images"] {
            "" => Dataset::Named(DatasetName::Digits).largest_class(),
            _ => {
                let evenly: Vec<i64> =
                    (0..100).map(|i| digits.test.labels[i * 360 / 100]).collect();
                let of_class = |class| evenly.iter().filter(|&&label| label == class).count();
                (0..10).map(of_class).max().unwrap() as f64 / 100.0
            }
        };
        assert_eq!(row["test_largest_class"], share.to_string(), "{row:?}");
    }
    assert_eq!(rows(&own.results()), rows(&known));

    // The folder's grid knows the file, also by its name in the data folder.
    let verify = |args: &[&str]| {
        let args = [&["verify", "results/sweep", "--sample", "1"], args].concat();
        output(&mut own.wninit(&args))
    };
    verify(&[]).expect(0, &[]);
    fs::create_dir(own.path("moved")).unwrap();
    fs::rename(own.path("my.npz"), own.path("moved/my.npz")).unwrap();
    verify(&["--data", "moved"]).expect(0, &[]);
    let missing = verify(&[]);
    missing.expect(2, &[]);
    assert!(missing.stderr.contains("my.npz is missing"), "{missing:?}");
    // All jobs are finished: nothing needs the file.
    output(&mut own.wninit(&["run", "results/sweep/grid.toml", "--device", "cpu"])).expect(0, &[]);
}

/// Two features in clusters, one for each class.
fn clusters(scale: f32) -> Vec<u8> {
    let order = rng::permutation(300, &mut rng::stream(0, "clusters", 0));
    let noise = |i: u32| order[i as usize] as f32 / 300.0;
    let point = |i: u32| {
        let class = i % 3;
        [(class as f32 + noise(i)) * scale, (class as f32 * 2.0 - noise(299 - i)) * scale]
    };
    let x: Vec<f32> = (0..300).flat_map(point).collect();
    let y: Vec<i64> = (0..300).map(|i| i % 3).collect();
    npz(&[("x", floats(&[300, 2], &x)), ("y", labels(&y))], false)
}

const CLUSTERS: &str = "[base]\ndataset = \"file\"\npath = \"my.npz\"\ninput = \"standardised\"\ndepth = 2\nwidth = 32\n\
                        batch_size = 16\nepochs = 8\n[grid]\nlr = [0.01, 0.05]\nseed = { count = 3 }\n";

#[test]
fn floats_without_a_test_set_are_learned_whatever_the_seeds_trained_together() {
    let [together, alone] = [&["--cohort-width", "8"], &["--cohort-width", "1"]].map(|width| {
        let sandbox = Sandbox::new(CLUSTERS);
        fs::write(sandbox.path("my.npz"), clusters(1000.0)).unwrap();
        output(&mut sandbox.run(width)).expect(0, &[]);
        sandbox
    });
    let results = together.results();
    assert_eq!(results, alone.results());
    for row in results.runs.values() {
        let accuracy: f64 = row["test_acc"].parse().unwrap();
        assert!(accuracy > 0.8, "{row:?}");
        assert_eq!(accuracy * 60.0, (accuracy * 60.0).round(), "of 60 images");
        // Which are drawn with the job's seed from three classes of a hundred.
        let largest: f64 = row["test_largest_class"].parse().unwrap();
        assert!((1.0 / 3.0..0.6).contains(&largest), "{row:?}");
        assert_eq!(largest * 60.0, (largest * 60.0).round(), "of 60 images");
        assert_eq!((&*row["data_shape"], &*row["data_classes"]), ("1x1x2", "3"));
    }
    let curvature = output(&mut together.wninit(&["curvature", "grid.toml", "--device", "cpu"]));
    curvature.expect(0, &[]);
    let signal = output(&mut together.wninit(&["signals", "grid.toml", "--device", "cpu"]));
    signal.expect(0, &[]);
}

#[test]
fn a_file_that_changed_after_it_was_planned_is_refused_before_anything_runs() {
    let sandbox = Sandbox::new(CLUSTERS);
    fs::write(sandbox.path("my.npz"), clusters(1.0)).unwrap();
    let begun = output(&mut sandbox.run(&["--budget", "1s", "--only", "seed=0"]));
    begun.expect(0, &[]);
    let before = sandbox.text("runs.csv");
    fs::write(sandbox.path("my.npz"), clusters(2.0)).unwrap();
    let id = before.lines().nth(1).unwrap().split(',').next().unwrap();
    for args in [
        &["run", "grid.toml", "--device", "cpu"][..],
        &["run", "results/sweep/grid.toml", "--device", "cpu", "--set", "epochs=9"],
        &["verify", "results/sweep", "--job", id],
        &["curvature", "results/sweep/grid.toml", "--device", "cpu"],
        &["signals", "results/sweep/grid.toml", "--device", "cpu"],
    ] {
        let refused = output(&mut sandbox.wninit(args));
        refused.expect(2, &[]);
        assert_eq!(refused.stderr.matches("sha256:").count(), 2, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains("another name"), "{args:?}: {refused:?}");
    }
    assert_eq!(sandbox.text("runs.csv"), before);
}
