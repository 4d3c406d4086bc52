//! Every job sees the images that its data set, its seeds and its fields say, from whatever form a
//! data set lies in; a missing or damaged one is an error with a remedy.

use std::collections::BTreeSet;
use std::path::Path;

use md5::{Digest, Md5};
use proptest::prelude::*;
use wninit_core::data::batches::{init_batch, order, split};
use wninit_core::data::files::{ArchiveSpec, hex};
use wninit_core::data::{Images, Place, cifar, load};
use wninit_core::job::{Dataset, DatasetName, Draft, Job};
use wninit_core::rng;

fn job(change: impl Fn(&mut Draft)) -> Job {
    let mut draft = Draft { dataset: Some(DatasetName::Digits), ..Draft::default() };
    change(&mut draft);
    draft.resolve().unwrap()
}

fn set(images: &[u32]) -> BTreeSet<u32> {
    images.iter().copied().collect()
}

#[test]
fn every_image_is_trained_on_or_validated_on_and_none_is_both() {
    let split = split(&job(|_| {}));
    assert_eq!((split.train.len(), split.val.len()), (1293, 144));
    let all: BTreeSet<u32> = &set(&split.train) | &set(&split.val);
    assert_eq!(all, (0..1437).collect());
}

#[test]
fn fewer_training_images_leave_validation_as_it_is() {
    let whole = split(&job(|_| {}));
    let part = split(&job(|d| d.train_images = Some(100)));
    assert_eq!(part.val, whole.val);
    assert_eq!(part.train, whole.train[..100]);
    assert_ne!(split(&job(|d| d.data_seed = Some(1))).val, whole.val);
    assert_eq!(split(&job(|d| d.init_seed = Some(1))), whole);
}

#[test]
fn every_epoch_visits_every_training_image_once_in_an_order_of_its_own() {
    let job = job(|_| {});
    let split = split(&job);
    let epochs = [0, 1, 1].map(|epoch| order(&job, &split, epoch));
    for order in &epochs {
        assert_eq!((order.len(), set(order)), (split.train.len(), set(&split.train)));
    }
    assert!(epochs[0] != epochs[1] && epochs[1] == epochs[2]);
}

#[test]
fn the_batch_of_data_dependent_initialization_is_training_images_only() {
    let job = job(|d| d.batch_size = Some(200));
    let split = split(&job);
    let batch = init_batch(&job, &split);
    assert_eq!((batch.len(), set(&batch).len()), (200, 200));
    assert!(set(&batch).is_subset(&set(&split.train)));

    let few = self::job(|d| (d.batch_size, d.train_images) = (Some(200), Some(50)));
    assert_eq!(init_batch(&few, &self::split(&few)).len(), 50);
}

#[test]
fn the_embedded_digits_stay_small() {
    let file = crate::root().join("src/core/data/digits.zlib");
    assert!(std::fs::metadata(file).unwrap().len() < 40 << 10);
}

#[test]
fn the_streams_are_those_of_the_first_release() {
    // If this fails, every result changes: raise the schema number of the job.
    let order = rng::permutation(8, &mut rng::stream(0, "order", 0));
    assert_eq!(order, [0, 4, 6, 5, 3, 7, 1, 2]);
}

fn synthetic(shape: [u16; 3], classes: u16, images: u32) -> (Images, Images) {
    let data = load(Dataset::Synthetic { shape, classes, images }, Path::new("")).unwrap();
    (data.train, data.test)
}

/// Accuracy on the test images of the nearest mean of the training images.
fn nearest_mean(train: &Images, test: &Images, classes: usize) -> f64 {
    let size: usize = train.shape.iter().product();
    let share = classes as f64 / train.len() as f64;
    let mut means = vec![vec![0.0; size]; classes];
    for (image, &label) in train.pixels.chunks(size).zip(&train.labels) {
        let mean = means[label as usize].iter_mut().zip(image);
        mean.for_each(|(mean, &pixel)| *mean += f64::from(pixel) * share);
    }
    let right = test.pixels.chunks(size).zip(&test.labels).filter(|(image, label)| {
        let distance = |mean: &[f64]| -> f64 {
            mean.iter().zip(*image).map(|(m, &p)| (m - f64::from(p)).powi(2)).sum()
        };
        let nearest = |&a: &usize, &b: &usize| distance(&means[a]).total_cmp(&distance(&means[b]));
        (0..classes).min_by(nearest) == Some(**label as usize)
    });
    right.count() as f64 / test.len() as f64
}

#[test]
fn it_can_be_learned_but_not_perfectly() {
    let (train, test) = synthetic([1, 8, 8], 10, 1000);
    let accuracy = nearest_mean(&train, &test, 10);
    assert!((0.85..1.0).contains(&accuracy), "{accuracy}");
    let (train, test) = synthetic([3, 32, 32], 4, 400);
    assert!(nearest_mean(&train, &test, 4) > 0.9);
}

#[test]
fn every_job_sees_the_same_images_and_more_images_begin_with_the_fewer() {
    let (small, _) = synthetic([2, 5, 11], 3, 20);
    let (large, _) = synthetic([2, 5, 11], 3, 50);
    assert_eq!(small, synthetic([2, 5, 11], 3, 20).0);
    assert_eq!(small.pixels, large.pixels[..small.pixels.len()]);
    assert_ne!(small.pixels, synthetic([2, 5, 11], 4, 20).0.pixels);
    let (train, test) = synthetic([1, 8, 8], 10, 1000);
    assert_ne!(train.pixels[..64], test.pixels[..64]);
}

#[test]
fn the_images_stay_what_they_were_in_the_first_release() {
    // If this fails, every synthetic result changes: raise the schema number of the job.
    let (train, _) = synthetic([1, 2, 4], 2, 10);
    assert_eq!(train.pixels[..8], PINNED);
}

const PINNED: [u8; 8] = [171, 255, 35, 49, 78, 194, 46, 60];

#[test]
fn a_data_set_larger_than_any_memory_is_an_error() {
    let huge = Dataset::Synthetic { shape: [4096; 3], classes: 2, images: 10_000_000 };
    let error = load(huge, Path::new("")).unwrap_err();
    assert!(error.to_string().contains("synthetic_images"), "{error}");
}

#[test]
fn a_missing_data_set_is_an_error_that_says_what_to_run() {
    let dir = tempfile::tempdir().unwrap();
    use DatasetName::*;
    for name in [FashionMnist, Mnist, Cifar10, Cifar100] {
        let error = load(Dataset::Named(name), dir.path()).unwrap_err();
        let text = error.to_string();
        let command = format!("wninit fetch {name} --data {}", dir.path().display());
        assert!(text.contains(" is missing (looked in "), "{text}");
        assert!(text.contains(&command) && text.contains("WNINIT_DATA"), "{text}");
    }
}

/// Records of every class in turn; pixel j of image i is i + j.
fn records(dataset: DatasetName, images: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..images {
        match dataset {
            DatasetName::Cifar100 => bytes.extend([(i % 20) as u8, (i % 100) as u8]),
            _ => bytes.push((i % 10) as u8),
        }
        bytes.extend((0..3072).map(|j| (i + j) as u8));
    }
    bytes
}

/// The archive with these entries, and its MD5.
fn tar_gz(entries: &[(String, Vec<u8>)]) -> (Vec<u8>, String) {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(encoder);
    for (path, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let md5 = hex(&Md5::digest(&bytes));
    (bytes, md5)
}

fn small(dataset: DatasetName) -> (ArchiveSpec, Vec<(String, Vec<u8>)>) {
    let (train, test) = if dataset == DatasetName::Cifar10 { (10, 10) } else { (200, 100) };
    let spec = cifar::spec(dataset, train, test, "");
    let mut entries = vec![(format!("{}/readme.html", spec.folder), b"<html>".to_vec())];
    for member in &spec.members {
        let n = member.bytes as usize / if dataset == DatasetName::Cifar10 { 3073 } else { 3074 };
        entries.push((format!("{}/{}", spec.folder, member.name), records(dataset, n)));
    }
    (spec, entries)
}

/// A data folder with these files.
fn folder(dataset: DatasetName, files: &[(String, Vec<u8>)]) -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let place = Place { dataset, dir: dir.path().to_owned() };
    (dir, place)
}

#[test]
fn the_archive_and_the_unpacked_folder_give_the_same_images() {
    for dataset in [DatasetName::Cifar10, DatasetName::Cifar100] {
        let (mut spec, entries) = small(dataset);
        let (bytes, md5) = tar_gz(&entries);
        spec.md5 = md5;
        let (_dir, place) = folder(dataset, &[(spec.name.clone(), bytes)]);
        let (train, test) = cifar::read(&place, &spec).unwrap();
        let (_dir, place) = folder(dataset, &entries);
        assert_eq!(cifar::read(&place, &spec).unwrap(), (train.clone(), test.clone()));
        let classes = if dataset == DatasetName::Cifar10 { 10 } else { 100 };
        assert_eq!(train.labels[classes - 1], classes as i64 - 1);
        assert_eq!((test.pixels[1], test.pixels[3072]), (1, 1));
        assert_eq!((train.shape, train.pixels.len()), ([3, 32, 32], train.len() * 3072));
    }
}

#[test]
fn wrong_labels_and_unequal_classes_are_refused_without_any_checksum() {
    let (spec, entries) = small(DatasetName::Cifar10);
    let (first, genuine) = &entries[1];
    let relabelled = |label: u8| [&[label], &genuine[1..]].concat();
    for (bytes, says) in [
        (Some(relabelled(10)), "record 0 has the label [10]"),
        (Some(relabelled(3)), "class 0 has 4 images, expected 5"),
        (Some(genuine[1..].to_vec()), "data_batch_1.bin: it is truncated"),
        (None, "data_batch_1.bin is missing"),
    ] {
        let (dir, place) = folder(DatasetName::Cifar10, &entries);
        let path = dir.path().join(first);
        match bytes {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let text = cifar::read(&place, &spec).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }
}

proptest! {
    #[test]
    fn no_archive_whatever_makes_the_reader_panic(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>(), compressed in any::<bool>(),
    ) {
        let (mut spec, entries) = small(DatasetName::Cifar10);
        let (mut bytes, _) = tar_gz(&entries[..2]);
        if !compressed {
            // Damage the tar inside of a sound gzip: its headers and sizes.
            let mut tar = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut tar).unwrap();
            at.iter().for_each(|(i, value)| { let i = i.index(1536); tar[i] = *value; });
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, &tar).unwrap();
            bytes = encoder.finish().unwrap();
        } else {
            at.iter().for_each(|(i, value)| { let i = i.index(bytes.len()); bytes[i] = *value; });
            bytes.truncate(cut.index(bytes.len()).max(1));
        }
        spec.md5 = hex(&Md5::digest(&bytes));
        let (_dir, place) = folder(DatasetName::Cifar10, &[(spec.name.clone(), bytes)]);
        prop_assert!(cifar::read(&place, &spec).is_err(), "five members are missing");
    }
}
