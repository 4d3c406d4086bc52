//! A grid trains on a user's own file. A job's id depends on what is in the file and on nothing else;
//! a file that cannot be trained on, or has changed, is refused with its name, the array and a remedy.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use wninit_core::data::Sources;
use wninit_core::data::batches::{split, test};
use wninit_core::grid::{Grid, GridError, Overrides};
use wninit_core::job::{DataType, Dataset, Job, JobId};
use wninit_core::plan::Plan;
use wninit_core::run::sweep;
use wninit_stats::summary::chance;

use crate::npz::{bytes, floats, labels, npy, npy_of, npz};

const GRID: &str = "name = \"own\"\n[base]\ndataset = \"file\"\npath = \"my.npz\"\ndepth = 2\n";

type Arrays = Vec<(&'static str, Vec<u8>)>;

/// 20 training and 5 test images of 2×3 bytes, of 5 classes.
fn good() -> Arrays {
    let images = |n: usize| bytes(&[n, 2, 3], &(0..n * 6).map(|i| i as u8).collect::<Vec<u8>>());
    let classes = |n: i64| labels(&(0..n).map(|i| i % 5).collect::<Vec<i64>>());
    vec![
        ("x_train", images(20)),
        ("y_train", classes(20)),
        ("x_test", images(5)),
        ("y_test", classes(5)),
    ]
}

/// With other arrays in place of some.
fn with(changes: &[(&'static str, Vec<u8>)]) -> Arrays {
    let mut arrays = good();
    for (name, array) in changes {
        arrays.iter_mut().filter(|(known, _)| known == name).for_each(|a| a.1 = array.clone());
    }
    arrays
}

/// A folder with `my.npz`.
fn folder(file: &[u8]) -> tempfile::TempDir {
    let folder = crate::common::folder();
    fs::write(folder.path().join("my.npz"), file).unwrap();
    folder
}

fn load(text: &str, folder: &Path) -> Result<Grid, GridError> {
    Grid::parse(text, &folder.join("own.toml"), &Overrides::default())
}

fn job_of(file: &[u8]) -> Job {
    let folder = folder(file);
    Plan::of(&load(GRID, folder.path()).unwrap()).unwrap().jobs.swap_remove(0).job
}

fn fixture(name: &str) -> PathBuf {
    crate::root().join("tests/fixtures/data").join(name)
}

#[test]
fn files_that_numpy_wrote_have_the_contents_that_numpy_gave_them() {
    let stored = job_of(&fs::read(fixture("stored.npz")).unwrap());
    assert_eq!(job_of(&fs::read(fixture("deflated.npz")).unwrap()), stored);
    let Dataset::File { hash, data_type, shape, classes, train, test } = stored.dataset else {
        panic!("{stored:?}")
    };
    assert_eq!((data_type, shape, classes), (DataType::Uint8, [1, 2, 3], 3));
    assert_eq!((train, test), (15, 6));
    // If these fail, jobs that were trained on users' files have other ids.
    assert_eq!((hash.to_string(), stored.id().to_string()), (HASH.to_owned(), ID.to_owned()));

    let features = job_of(&fs::read(fixture("features.npz")).unwrap());
    assert_eq!(features.dataset.shape(), [1, 1, 4]);
    assert!(features.dataset.has_floats());
    assert_eq!((features.dataset.undivided(), features.dataset.images()), (Some(12), (10, 2)));
}

/// As `tests/fixtures/data/make.py` prints it.
const HASH: &str = "sha256:a3498a5e19d6e5ae";
const ID: &str = "419b906f0670";

#[test]
fn a_jobs_id_depends_on_what_is_in_the_file_and_not_on_its_name_place_or_format() {
    let id = job_of(&npz(&good(), false)).id();
    assert_eq!(job_of(&npz(&good(), true)).id(), id);
    let short: Vec<u8> = (0..20).map(|i| i % 5).collect();
    assert_eq!(job_of(&npz(&with(&[("y_train", bytes(&[20, 1], &short))]), true)).id(), id);
    let mut turned = good();
    turned.rotate_left(1);
    turned.push(("more", labels(&[1])));
    assert_eq!(job_of(&npz(&turned, true)).id(), id);

    let folder = folder(&npz(&good(), true));
    let (here, there) = (folder.path().join("my.npz"), folder.path().join("sub/other.npz"));
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::rename(&here, &there).unwrap();
    let at = |path: &str| load(&GRID.replace("my.npz", path), folder.path()).unwrap();
    let grid = at("sub/../sub/other.npz");
    assert_eq!(Plan::of(&grid).unwrap().jobs[0].id, id);
    assert_eq!(Plan::of(&at(there.to_str().unwrap())).unwrap().jobs[0].id, id);
    assert_eq!(safetensors(folder.path()), id);

    let mut one_pixel: Vec<u8> = (0..30).collect();
    one_pixel[7] = 99;
    let changed = with(&[("x_test", bytes(&[5, 2, 3], &one_pixel))]);
    assert_ne!(job_of(&npz(&changed, true)).id(), id);
    let flat: Vec<u8> = (0..30).collect();
    let values: Vec<f32> = (0..120).map(|i| i as f32).collect();
    let [x_train, x_test] = [floats(&[20, 2, 3], &values), floats(&[5, 2, 3], &values[..30])];
    let as_floats = job_of(&npz(&with(&[("x_train", x_train), ("x_test", x_test)]), true));
    assert_ne!(as_floats.id(), id, "numbers are not divided by 255");
    let doubles = |n: usize| -> Vec<u8> { (0..n).flat_map(|i| (i as f64).to_le_bytes()).collect() };
    let x_train = npy("<f8", &[20, 2, 3], &doubles(120));
    let as_doubles =
        with(&[("x_train", x_train), ("x_test", npy("<f8", &[5, 2, 3], &doubles(30)))]);
    assert_eq!(job_of(&npz(&as_doubles, true)), as_floats);
    let wide = with(&[
        ("x_train", bytes(&[20, 6, 1], &(0..120).collect::<Vec<u8>>())),
        ("x_test", bytes(&[5, 6, 1], &flat)),
    ]);
    assert_ne!(job_of(&npz(&wide, true)).id(), id);
}

/// The id of the good arrays in the other format.
fn safetensors(folder: &Path) -> JobId {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, array) in good() {
        let length = u16::from_le_bytes([array[8], array[9]]) as usize;
        let (kind, n) = (if name.starts_with('x') { "U8" } else { "I64" }, data.len());
        data.extend(&array[10 + length..]);
        let count = (data.len() - n) / if kind == "U8" { 6 } else { 8 };
        let shape = if kind == "U8" { format!("[{count},2,3]") } else { format!("[{count}]") };
        let end = data.len();
        header.push(format!(
            "\"{name}\":{{\"dtype\":\"{kind}\",\"shape\":{shape},\"data_offsets\":[{n},{end}]}}"
        ));
    }
    let header = format!("{{{}}}", header.join(","));
    let length = (header.len() as u64).to_le_bytes();
    let file = [&length[..], header.as_bytes(), &data].concat();
    fs::write(folder.join("my.safetensors"), file).unwrap();
    let grid = load(&GRID.replace("my.npz", "my.safetensors"), folder).unwrap();
    Plan::of(&grid).unwrap().jobs[0].id
}

#[test]
fn classes_and_the_size_of_the_test_set_are_those_of_the_file() {
    let job = job_of(&npz(&good(), true));
    assert_eq!((chance(&job), job.tested(), test(&job)), (0.2, 5, vec![0, 1, 2, 3, 4]));
}

#[test]
fn test_images_are_spread_over_the_whole_test_set() {
    let file = npz(&good(), true);
    let folder = folder(&file);
    let job = |images: u32| {
        let grid = load(&format!("{GRID}test_images = {images}\n"), folder.path()).unwrap();
        Plan::of(&grid).unwrap().jobs.swap_remove(0).job
    };
    assert_eq!([1, 2, 4].map(|n| test(&job(n))), [vec![0], vec![0, 2], vec![0, 1, 2, 3]]);
}

#[test]
fn a_file_without_a_test_set_is_divided_by_the_seed() {
    let values: Vec<f32> = (0..103 * 4).map(|i| i as f32).collect();
    let classes: Vec<i64> = (0..103).map(|i| i % 3).collect();
    let file = npz(&[("x", floats(&[103, 4], &values)), ("y", labels(&classes))], true);
    let folder = folder(&file);
    let grid = load(&format!("{GRID}[grid]\nseed = {{ count = 3 }}\n"), folder.path()).unwrap();
    let jobs: Vec<Job> = Plan::of(&grid).unwrap().jobs.into_iter().map(|p| p.job).collect();
    let parts: Vec<[Vec<u32>; 3]> = jobs
        .iter()
        .map(|job| {
            let split = split(job);
            [split.train, split.val, test(job)]
        })
        .collect();
    for part in &parts {
        assert_eq!(part.each_ref().map(Vec::len), [75, 8, 20]);
        let all: BTreeSet<u32> = part.concat().into_iter().collect();
        assert_eq!(all, (0..103).collect(), "no image is in two parts");
    }
    let held_out: BTreeSet<&Vec<u32>> = parts.iter().map(|part| &part[2]).collect();
    assert_eq!(held_out.len(), 3, "each seed has its own");
    let other_init = jobs[0].with(&[("init_seed", wninit_core::job::Value::Integer(7))]).unwrap();
    assert_eq!(test(&other_init), parts[0][2], "data_seed alone decides");
}

/// The message with which a file is refused.
#[track_caller]
fn refused(file: &[u8], parts: &[&str]) {
    let folder = folder(file);
    let error = load(GRID, folder.path()).unwrap_err().to_string();
    let parts = parts.iter().chain(&["own.toml:4: base.path: ", "my.npz: "]);
    parts.for_each(|part| assert!(error.contains(part), "no {part:?} in {error}"));
}

#[test]
fn arrays_that_cannot_be_trained_on_are_refused_by_name_with_a_remedy() {
    let refused = |changes: &[(&'static str, Vec<u8>)], parts: &[&str]| {
        refused(&npz(&with(changes), true), parts);
    };
    let x = |descr: &str, size: usize| npy(descr, &[20, 2, 3], &vec![0; 120 * size]);
    let y = |descr: &str, size: usize| npy(descr, &[20], &vec![0; 20 * size]);
    for (array, parts) in [
        (x(">f4", 4), ["x_train is big-endian", ".astype(np.float32)"]),
        (x("|O", 8), ["x_train holds Python objects", "as an array of numbers"]),
        (x("<c8", 8), ["x_train is of the type \"<c8\"", "as numbers"]),
        (x("<f2", 2), ["x_train is of the type \"<f2\"", "as numbers"]),
        (x("<U3", 12), ["x_train is of the type \"<U3\"", "as numbers"]),
        (npy("<i8", &[20, 2, 3], &vec![0; 960]), ["x_test is uint8", "x_train is int64"]),
        (npy("|u1", &[20], &[0; 20]), ["x_train has the shape [20]", "[n, features]"]),
        (npy("|u1", &[20, 1, 1, 2, 3], &[0; 120]), ["[20, 1, 1, 2, 3]", "[n, height, width]"]),
        (
            npy("|u1", &[20, 5, 5, 3], &[0; 1500]),
            ["x_train has the shape [20, 5, 5, 3]", ".transpose(0, 3, 1, 2)"],
        ),
        (npy("|u1", &[1, 5000], &[0; 5000]), ["x_train has the shape [1, 5000]", "more than 4096"]),
        (npy("|u1", &[0, 2, 3], &[]), ["x_train is empty", "[0, 2, 3]"]),
        (npy("|u1", &[19, 2, 3], &[0; 114]), ["x_train has 19 images", "y_train has 20 labels"]),
        (
            npy("|u1", &[20, 3, 2], &[0; 120]),
            ["x_test is uint8 of the shape [5, 2, 3]", "same type and shape"],
        ),
        (
            npy("|u1", &[20, 2, 3], &[0; 119]),
            ["x_train is damaged", "announces the shape [20, 2, 3]"],
        ),
        (
            npy("|u1", &[1 << 40, 1 << 40, 3], &[0; 120]),
            ["x_train is damaged", "save the file again"],
        ),
        (
            npy_of("{'descr': '|u1', 'fortran_order': True, 'shape': (20, 2, 3), }", &[0; 120]),
            ["x_train is in Fortran's order", "np.ascontiguousarray"],
        ),
        (
            npy_of("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (20,), }", &[0; 20]),
            ["x_train has named fields", "one array for each"],
        ),
        (npy_of("{'descr': '|u1'}", &[0; 120]), ["x_train has a header that is no", "'|u1'"]),
        (
            b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(),
            ["x_train has a header of 4294967295 bytes", "65536"],
        ),
        (b"text".to_vec(), ["x_train cannot be read", ""]),
    ] {
        refused(&[("x_train", array)], &parts);
    }
    for (array, parts) in [
        (y("<f8", 8), ["y_train is float64", ".astype(np.int64)"]),
        (y("|b1", 1), ["y_train is of the type \"|b1\"", "as numbers"]),
        (npy("<i8", &[20, 5], &[0; 800]), ["y_train has the shape [20, 5]", ".argmax(1)"]),
        (labels(&[0; 20]), ["y_train has one class only", "two"]),
        (
            labels(&[&[-1][..], &[0; 19]].concat()),
            ["y_train has the label -1 for image 0", "from 0 to 9999"],
        ),
        (
            labels(&[&[0; 19][..], &[10_000]].concat()),
            ["y_train has the label 10000 for image 19", "from 0 to 9999"],
        ),
        (
            npy("<u8", &[20], &[255; 160]),
            ["y_train has the label 9223372036854775807", "from 0 to 9999"],
        ),
        (
            labels(&[&[0, 1, 2, 4][..], &[4; 16]].concat()),
            ["no image of y_train is of class 3", "without gaps"],
        ),
        (
            labels(&[&[0, 1, 2, 3][..], &[3; 16]].concat()),
            ["y_test has the label 4", "no image of y_train"],
        ),
    ] {
        refused(&[("y_train", array)], &parts);
    }
    let mut values = [0.5; 120];
    for (bad, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        values[13] = bad;
        let x_train = floats(&[20, 2, 3], &values);
        let x_test = floats(&[5, 2, 3], &[0.0; 30]);
        let part = format!("x_train is {word} in image 2 (from 0)");
        refused(
            &[("x_train", x_train), ("x_test", x_test)],
            &[&part, "finite in single precision"],
        );
    }
}

#[test]
fn files_that_are_no_archives_of_the_arrays_are_refused() {
    let few = |names: &[&'static str]| -> Arrays {
        good().into_iter().filter(|(name, _)| names.contains(name)).collect()
    };
    let three = npz(&few(&["x_train", "y_train", "x_test"]), false);
    refused(&three, &["it has no y_test", "(found: x_test, x_train, y_train)"]);
    refused(
        &npz(&[("images", labels(&[1]))], true),
        &["it has no x_train, or x and y", "(found: images)"],
    );
    refused(&npz(&[], true), &["it has no x_train, or x and y", "(found: none)"]);
    let nine =
        npz(&[("x", bytes(&[9, 1], &[0; 9])), ("y", labels(&[0, 1, 0, 1, 0, 1, 0, 1, 0]))], true);
    refused(&nine, &["x has 9 images, too few"]);
    refused(b"", &["it is no .npz file"]);
    refused(&bytes(&[2, 3], &[0; 6]), &["it is a single array", "np.savez"]);
    let whole = npz(&good(), false);
    refused(&whole[..whole.len() / 2], &["it is truncated or damaged"]);
    // One bit of an image: the archive's checksum differs.
    let mut flipped = whole.clone();
    let at = flipped.windows(3).position(|bytes| bytes == [60, 61, 62]).unwrap();
    flipped[at] ^= 1;
    refused(&flipped, &["x_train is damaged", "save the file again"]);
}

#[test]
fn an_archive_whose_sizes_lie_is_refused_and_no_more_is_read_than_it_holds() {
    // A header of 3.2 MB, and a directory that agrees with it, of 120 bytes.
    let real_shape = bytes(&[20, 4000, 40], &[0; 120]);
    let mut file = npz(
        &with(&[("x_train", real_shape.clone()), ("x_test", bytes(&[5, 4000, 40], &[0; 800_000]))]),
        true,
    );
    let real = (real_shape.len() as u32).to_le_bytes();
    let claimed = (real_shape.len() as u32 - 120 + 3_200_000).to_le_bytes();
    let places: Vec<usize> = (0..file.len() - 4).filter(|&i| file[i..i + 4] == real).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|&i| file[i..i + 4].copy_from_slice(&claimed));
    refused(&file, &["x_train is truncated"]);
}

fn wninit(folder: &Path, args: &[&str]) -> Output {
    Command::new(crate::WNINIT).current_dir(folder).args(args).output().unwrap()
}

#[test]
fn a_path_that_is_no_readable_file_is_refused_before_anything_is_written() {
    let folder = folder(b"");
    fs::create_dir(folder.path().join("dir")).unwrap();
    let pipe = std::ffi::CString::new(folder.path().join("pipe").to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    for (path, part) in [
        ("none.npz", "none.npz: cannot be read"),
        ("dir", "dir: it is not a file"),
        ("pipe", "pipe: it is not a file"),
        ("/dev/zero", "/dev/zero: it is not a file"),
    ] {
        fs::write(folder.path().join("own.toml"), GRID.replace("my.npz", path)).unwrap();
        let output = wninit(folder.path(), &["plan", "own.toml"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with("error: own.toml:4: base.path: "), "{message}");
        assert!(message.contains(part), "{message}");
        assert!(!folder.path().join("results").exists());
    }
}

#[test]
fn a_path_without_its_data_set_and_a_data_set_without_its_path_are_refused() {
    let folder = folder(&npz(&good(), true));
    for (grid, part) in [
        (GRID.replace("dataset = \"file\"\n", ""), "it is for dataset = \"file\""),
        (GRID.replace("path = \"my.npz\"\n", ""), "\"file\" needs path = \"my.npz\""),
        (format!("{GRID}[grid]\npath = [\"my.npz\"]\n"), "give each file a [[block]]"),
        (GRID.replace("\"my.npz\"", "1"), "expected the path of a file, got 1"),
        (format!("{GRID}data_hash = \"sha256:0000000000000000\"\n"), "put the right file there"),
        (format!("{GRID}data_hash = \"0000000000000000\"\n"), "16 hexadecimal digits"),
    ] {
        let planned = load(&grid, folder.path()).and_then(|grid| Plan::of(&grid));
        let error = planned.unwrap_err().to_string();
        assert!(error.contains(part), "no {part:?} in {error}");
        assert!(error.starts_with(&*folder.path().to_string_lossy()), "{error}");
    }
}

#[test]
fn files_are_found_beside_the_grid_that_names_them_and_set_on_the_command_line() {
    let folder = folder(&npz(&good(), true));
    let sub = folder.path().join("sub");
    fs::create_dir(&sub).unwrap();
    fs::write(folder.path().join("own.toml"), GRID).unwrap();
    fs::write(sub.join("child.toml"), "name = \"child\"\nextends = \"../own.toml\"\n").unwrap();
    let whole = npz(&[("x", bytes(&[12, 2], &[7; 24])), ("y", labels(&[0, 1].repeat(6)))], true);
    fs::write(sub.join("whole.npz"), whole).unwrap();

    let plan = |args: &[&str]| {
        let output = wninit(folder.path(), &[&["plan", "--csv"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let own = plan(&["own.toml"]);
    assert_eq!(plan(&["sub/child.toml"]), own);
    assert!(own.contains(",uint8,1x2x3,5,20,5,"), "{own}");
    let set = plan(&["own.toml", "--set", "path=sub/whole.npz"]);
    assert!(set.contains(",uint8,1x1x2,2,12,0,"), "{set}");
    let blocks =
        "[[block]]\nbase = { path = \"my.npz\" }\n[[block]]\nbase = { path = \"sub/whole.npz\" }\n";
    let blocks =
        load(&format!("{GRID}{blocks}").replacen("path = \"my.npz\"\n", "", 1), folder.path());
    let jobs = Plan::of(&blocks.unwrap()).unwrap().jobs;
    assert_eq!(jobs.iter().map(|p| p.job.dataset.classes()).collect::<Vec<_>>(), [5, 2]);
}

#[test]
fn a_planned_grid_needs_no_file_until_it_trains_and_then_the_same_one() {
    let folder = folder(&npz(&good(), true));
    let file = folder.path().join("my.npz");
    let grid = load(GRID, folder.path()).unwrap();
    let planned = Plan::of(&grid).unwrap().jobs;
    let jobs: Vec<Job> = planned.iter().map(|planned| planned.job.clone()).collect();
    let dir = folder.path().join("results/own");
    fs::create_dir_all(&dir).unwrap();
    sweep::describe(&dir, &grid.to_toml(), &planned).unwrap();
    let moved = folder.path().join("elsewhere");
    fs::create_dir(&moved).unwrap();
    fs::rename(&file, moved.join("my.npz")).unwrap();

    let resumed = Grid::load(&dir.join("grid.toml"), &Overrides::default()).unwrap();
    let plan = Plan::of(&resumed).unwrap();
    assert_eq!((&plan.jobs[0].job, plan.warnings.len()), (&jobs[0], 0));
    assert_eq!(resumed.to_toml(), grid.to_toml());
    for args in
        [&["status", "results/own"], &["summary", "results/own"], &["report", "results/own"]]
    {
        let output = wninit(folder.path(), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    let check = |data: &Path| Sources::new(data.to_owned(), resumed.files.clone()).check(&jobs);
    let missing = check(folder.path().join("results").as_path()).unwrap_err().to_string();
    assert!(
        missing.contains(&*file.to_string_lossy()) && missing.contains("--data DIR"),
        "{missing}"
    );
    assert!(check(&moved).is_ok(), "in the data folder, by its name");

    let changed = with(&[("x_test", bytes(&[5, 2, 3], &[1; 30]))]);
    fs::write(&file, npz(&changed, true)).unwrap();
    let error = check(&moved).unwrap_err().to_string();
    let changed = load(GRID, folder.path()).unwrap();
    let [before, now] = [&resumed, &changed].map(|grid| grid.files[0].0.to_string());
    assert!(before != now && error.contains(&before) && error.contains(&now), "{error}");
    let error = sweep::describe(&dir, &changed.to_toml(), &planned).unwrap_err().to_string();
    assert!(error.contains(&before) && error.contains(&now), "{error}");
    assert!(error.contains("another name"), "{error}");
}

#[test]
fn what_slurm_checks_is_the_file_that_was_planned() {
    let folder = folder(&npz(&good(), true));
    fs::write(folder.path().join("own.toml"), GRID).unwrap();
    let slurm = |grid: &str| {
        let output = wninit(folder.path(), &["slurm", grid, "--array", "1"]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(slurm("own.toml").0, Some(0));
    let frozen = fs::read_dir(folder.path().join("results/own/slurm")).unwrap();
    let frozen = frozen
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "toml"));
    let frozen = frozen.unwrap();
    let check =
        || wninit(folder.path(), &["fetch", "--check", frozen.to_str().unwrap()]).status.code();
    assert_eq!(check(), Some(0));
    fs::write(
        folder.path().join("my.npz"),
        npz(&with(&[("x_test", bytes(&[5, 2, 3], &[1; 30]))]), true),
    )
    .unwrap();
    assert_eq!(check(), Some(1));
    let (code, message) = slurm(frozen.to_str().unwrap());
    assert_eq!(code, Some(2));
    assert_eq!(message.matches("sha256:").count(), 2, "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_file_the_reader_does_not_panic(
        compressed in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        keep in prop::option::of(any::<prop::sample::Index>()),
        safetensors in any::<bool>(),
    ) {
        let folder = folder(&npz(&good(), compressed));
        let name = if safetensors { "my.safetensors" } else { "my.npz" };
        if safetensors {
            self::safetensors(folder.path());
        }
        let mut file = fs::read(folder.path().join(name)).unwrap();
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(keep) = keep {
            file.truncate(keep.index(file.len()));
        }
        fs::write(folder.path().join(name), &file).unwrap();
        let _ = load(&GRID.replace("my.npz", name), folder.path());
    }
}
