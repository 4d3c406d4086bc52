//! A job is what can be trained, and nothing else is part of its id; networks have the sizes that
//! the literature gives them.

use wninit_core::job::{Draft, Field, Job, JobError, JobId, Value};
use wninit_core::plan::cohort::Shape;
use wninit_core::plan::cost::ModelCost;

fn job(settings: &[(&str, &str)]) -> Result<Job, JobError> {
    let mut draft = Draft::default();
    for (name, text) in settings {
        Field::named(name).unwrap().set(&mut draft, &Value::Text((*text).to_owned())).unwrap();
    }
    draft.resolve()
}

fn model(settings: &[(&str, &str)]) -> ModelCost {
    ModelCost::of(&Shape::of(&job(settings).unwrap()))
}

#[test]
fn ids_stay_what_they_were_in_the_first_release() {
    // Results are found by these: if one changes, finished sweeps start over.
    let id = |settings: &[(&str, &str)]| job(settings).unwrap().id().to_string();
    assert_eq!(id(&[]), "a7a94226f0eb");
    assert_eq!(
        id(&[("dataset", "digits"), ("depth", "50"), ("seed", "3"), ("lr", "0.001")]),
        "8a95386b95c0"
    );
    assert_eq!(
        id(&[
            ("model", "wrn"),
            ("k", "10"),
            ("dataset", "cifar10"),
            ("init", "he_hanin"),
            ("warmup_epochs", "1")
        ]),
        "d2737f79a8ae"
    );
    assert_eq!(
        id(&[
            ("dataset", "synthetic"),
            ("model", "resnet"),
            ("norm", "batch"),
            ("micro_batch", "32")
        ]),
        "46e6fdade54a"
    );
}

#[test]
fn what_has_no_effect_is_no_part_of_the_id() {
    let same = |a: &[(&str, &str)], b: &[(&str, &str)]| {
        assert_eq!(job(a).unwrap().id(), job(b).unwrap().id())
    };
    same(&[("depth", "10")], &[]);
    same(&[("model", "wrn"), ("depth", "3")], &[("model", "wrn")]);
    same(&[("micro_batch", "128")], &[]);
    same(&[("train_images", "54000")], &[]);
    same(&[("test_images", "10000")], &[]);
    same(&[("input", "paper")], &[]);
    same(&[("activation", "relu")], &[]);
    same(&[("warmup_lr", "0.1")], &[]);
    same(&[("synthetic_classes", "3")], &[]);
    same(&[("seed", "4")], &[("init_seed", "4"), ("data_seed", "4")]);
    same(&[("weight_decay", "-0")], &[]);
}

#[test]
fn what_cannot_be_trained_is_no_job_and_the_error_names_the_field_to_change() {
    for (settings, field) in [
        (&[("init", "he_datadep"), ("norm", "none")][..], "init"),
        (&[("init", "orthogonal_hanin")], "init"),
        (&[("norm", "batch")], "norm"),
        (&[("train_images", "54001")], "train_images"),
        (&[("test_images", "10001")], "test_images"),
        (&[("micro_batch", "129")], "micro_batch"),
        (&[("warmup_epochs", "2")], "warmup_epochs"),
        (
            &[("dataset", "synthetic"), ("synthetic_images", "10"), ("val_fraction", "0.01")],
            "val_fraction",
        ),
    ] {
        assert_eq!(job(settings).unwrap_err().field, field, "{settings:?}");
    }
    for (field, value) in [
        ("lr", "-1"),
        ("lr", "nan"),
        ("momentum", "1.5"),
        ("val_fraction", "0"),
        ("epochs", "0"),
        ("depth", "2.5"),
    ] {
        let refused =
            Field::named(field).unwrap().set(&mut Draft::default(), &Value::Text(value.into()));
        assert!(refused.is_err(), "{field} = {value}");
    }
}

#[test]
fn ids_are_read_as_they_are_written() {
    let id = job(&[]).unwrap().id();
    assert_eq!(id.to_string().parse(), Ok(id));
    for wrong in ["", "12345", "zzzzzzzzzzzz", "1234567890abc", "+23456789abc"] {
        assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
    }
}

#[test]
fn a_cnn_halves_the_image_twice() {
    let cost = model(&[
        ("model", "cnn"),
        ("depth", "3"),
        ("width", "8"),
        ("norm", "none"),
        ("dataset", "fashion-mnist"),
    ]);
    assert_eq!(cost.parameters, (9 * 8 + 8) + 2 * (9 * 64 + 8) + 90);
    let shallow = [("model", "cnn"), ("depth", "1"), ("width", "8"), ("norm", "none")];
    assert_eq!(model(&shallow).parameters, (9 * 8 + 8) + 90);
    assert_eq!(cost.forward_flop, 2.0 * (72.0 * 196.0 + 576.0 * 49.0 + 576.0 * 49.0 + 80.0));
}

#[test]
fn a_small_residual_network_has_the_parameters_that_one_counts_by_hand() {
    let conv = |from: u64, to: u64, kernel: u64| from * to * kernel * kernel + to;
    let convs = conv(3, 16, 3)
        + 2 * conv(16, 16, 3)
        + (conv(16, 32, 3) + conv(32, 32, 3) + conv(16, 32, 1))
        + (conv(32, 64, 3) + conv(64, 64, 3) + conv(32, 64, 1));
    let head = 64 * 10 + 10;
    let norms = 2 * ((16 + 16) + (16 + 32) + (32 + 64));
    let wrn = |norm| {
        let settings = [("dataset", "cifar10"), ("model", "wrn"), ("blocks", "1"), ("norm", norm)];
        model(&settings).parameters
    };
    assert_eq!(wrn("none"), convs + head);
    assert_eq!(wrn("batch"), convs + head + norms);
    let gains = 16 + 2 * 16 + 3 * 32 + 3 * 64;
    assert_eq!(wrn("weight"), convs + head + gains);
    let settings =
        [("dataset", "cifar10"), ("model", "resnet"), ("blocks", "1"), ("norm", "batch")];
    assert_eq!(
        model(&settings).parameters,
        wrn("batch") + 2 * (16 + 64),
        "after the stem and before the pooling"
    );
}

#[test]
fn residual_networks_have_the_published_sizes() {
    let millions = |settings: &[(&str, &str)]| {
        let all: Vec<_> = [("dataset", "cifar10"), ("norm", "batch")]
            .into_iter()
            .chain(settings.iter().copied())
            .collect();
        model(&all).parameters as f64 / 1e6
    };
    let near = |x: f64, published: f64| {
        assert!((x / published - 1.0).abs() < 0.02, "{x} is not {published}")
    };
    near(millions(&[("model", "resnet"), ("blocks", "9")]), 0.86); // He et al. 2016: 0.85 M
    near(millions(&[("model", "resnet"), ("blocks", "18")]), 1.73); // 1.7 M
    near(millions(&[("model", "resnet"), ("blocks", "27")]), 2.6);
    near(millions(&[("model", "wrn"), ("blocks", "6"), ("k", "10")]), 55.8); // Zagoruyko & Komodakis 2016
    near(millions(&[("model", "wrn"), ("blocks", "6"), ("k", "4")]), 8.9);
}

#[test]
fn a_resnet_56_takes_an_eighth_of_a_billion_multiply_adds() {
    let cost = model(&[("dataset", "cifar10"), ("model", "resnet"), ("blocks", "9")]);
    let multiply_adds = cost.forward_flop / 2.0;
    assert!((0.124e9..0.128e9).contains(&multiply_adds), "{multiply_adds}");
    let reduced = model(&[("dataset", "cifar10"), ("model", "wrn"), ("reduced_memory", "true")]);
    let full = model(&[("dataset", "cifar10"), ("model", "wrn")]);
    assert!((full.forward_flop / reduced.forward_flop - 4.0).abs() < 0.1);
}

#[test]
fn the_largest_networks_that_a_grid_can_name_do_not_overflow() {
    for model_name in ["mlp", "cnn", "resnet", "wrn"] {
        let cost = model(&[
            ("dataset", "synthetic"),
            ("synthetic_shape", "4096x4096x4096"),
            ("synthetic_classes", "10000"),
            ("synthetic_images", "10000000"),
            ("model", model_name),
            ("depth", "100000"),
            ("width", "100000"),
            ("blocks", "100000"),
            ("k", "1000"),
        ]);
        assert!(cost.forward_flop.is_finite() && cost.parameters > 0);
    }
}
