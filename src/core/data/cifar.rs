//! `cifar10` and `cifar100`: the binary version (Krizhevsky, *Learning Multiple Layers of
//! Features from Tiny Images*, 2009).
//!
//! A record is the label (CIFAR-100: the coarse label, then the fine one, which is used) and the
//! 3,072 bytes of the image, `[channel, height, width]`, the channels red, green and blue.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Images;
use super::files::{self, ArchiveSpec, DataError, FileSpec, Place};
use crate::job::DatasetName;

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Number of CIFAR-100's coarse classes.
const COARSE_CLASSES: u8 = 20;

/// The archive of `cifar10` or `cifar100`.
pub(crate) fn archive(dataset: DatasetName) -> ArchiveSpec {
    if dataset == DatasetName::Cifar10 {
        spec(dataset, 10_000, 10_000, "c32a1d4ab5d03f1284b67883e8d87530")
    } else {
        spec(dataset, 50_000, 10_000, "03b5dce01913d631647c71ecec9e9cb8")
    }
}

/// An archive in the format of `cifar10` (five files of training images) or `cifar100` (one),
/// with that many images in a training file and in the test file.
pub fn spec(dataset: DatasetName, train_each: u64, test: u64, md5: &str) -> ArchiveSpec {
    let record = record_bytes(dataset) as u64;
    let file = |name: &str, images: u64| FileSpec {
        name: name.to_owned(),
        bytes: images * record,
        sha256: None,
    };
    let (name, folder, members) = if dataset == DatasetName::Cifar10 {
        let train = (1..=5).map(|i| file(&format!("data_batch_{i}.bin"), train_each));
        let members = train.chain([file("test_batch.bin", test)]).collect();
        ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", members)
    } else {
        let members = vec![file("train.bin", train_each), file("test.bin", test)];
        ("cifar-100-binary.tar.gz", "cifar-100-binary", members)
    };
    ArchiveSpec {
        name: name.to_owned(),
        md5: md5.to_owned(),
        max_bytes: 200 << 20,
        folder: folder.to_owned(),
        members,
    }
}

/// The folders below a data folder that may hold the archive.
pub fn folders(place: &Place) -> Vec<PathBuf> {
    vec![place.dir.clone(), place.dir.join(place.dataset.name())]
}

/// Reads training and test images, from the unpacked folder if there is one, else from the archive.
///
/// # Errors
/// [`DataError`].
pub fn read(place: &Place, spec: &ArchiveSpec) -> Result<(Images, Images), DataError> {
    let holds =
        |folder: &Path| spec.members.iter().any(|member| folder.join(&member.name).is_file());
    let unpacked = folders(place)
        .iter()
        .map(|f| f.join(&spec.folder))
        .chain([place.dir.join(place.dataset.name())])
        .find(|f| holds(f));
    let archive =
        folders(place).iter().map(|folder| folder.join(&spec.name)).find(|path| path.is_file());
    let (source, mut contents) = match (unpacked, archive) {
        (Some(folder), _) => (folder.clone(), read_folder(place, spec, &folder)?),
        (None, Some(archive)) => {
            let contents = files::read_archive(&archive, spec)
                .map_err(|problem| place.problem(&archive, problem))?;
            (archive, contents)
        }
        (None, None) => {
            let wanted = format!("{} (or the folder {})", spec.name, spec.folder);
            return Err(place.missing(&wanted, &folders(place)));
        }
    };
    let (test_file, train_files) = match spec.members.split_last() {
        Some((test, train)) => (std::slice::from_ref(test), train),
        None => (&[][..], &[][..]),
    };
    let mut set = |files: &[FileSpec]| {
        let mut images = Images { pixels: Vec::new(), labels: Vec::new(), shape: SHAPE };
        images.pixels.reserve_exact(files.iter().map(|file| file.bytes as usize).sum());
        for file in files {
            // Each file is dropped as soon as it is read: they are 180 MB together.
            let bytes = contents.remove(&file.name).unwrap_or_default();
            parse(place.dataset, &bytes, &mut images)
                .map_err(|problem| place.corrupt(source.join(&file.name), problem))?;
        }
        check_balance(place.dataset, &images).map_err(|problem| place.corrupt(&source, problem))?;
        Ok(images)
    };
    Ok((set(train_files)?, set(test_file)?))
}

fn read_folder(
    place: &Place,
    spec: &ArchiveSpec,
    folder: &Path,
) -> Result<HashMap<String, Vec<u8>>, DataError> {
    let mut contents = HashMap::new();
    for member in files::with_sums(&spec.members, folder) {
        let path = folder.join(&member.name);
        if !path.is_file() {
            return Err(place.missing(&member.name, &[folder.to_owned()]));
        }
        let bytes = files::read(&path, &member).map_err(|problem| place.problem(&path, problem))?;
        contents.insert(member.name, bytes);
    }
    Ok(contents)
}

fn label_bytes(dataset: DatasetName) -> usize {
    if dataset == DatasetName::Cifar100 { 2 } else { 1 }
}

fn record_bytes(dataset: DatasetName) -> usize {
    label_bytes(dataset) + PIXELS
}

/// Appends the records of one file.
///
/// # Errors
/// Says what is wrong with the file.
pub(crate) fn parse(dataset: DatasetName, bytes: &[u8], images: &mut Images) -> Result<(), String> {
    let (label_bytes, record_bytes) = (label_bytes(dataset), record_bytes(dataset));
    if !bytes.len().is_multiple_of(record_bytes) {
        return Err(format!(
            "it has {} bytes, no multiple of a record's {record_bytes}",
            bytes.len()
        ));
    }
    let classes = if dataset == DatasetName::Cifar100 { 100 } else { 10 };
    for (i, record) in bytes.chunks_exact(record_bytes).enumerate() {
        let (labels, pixels) = record.split_at(label_bytes);
        let label = labels[label_bytes - 1];
        if label >= classes || (label_bytes == 2 && labels[0] >= COARSE_CLASSES) {
            return Err(format!(
                "record {i} has the label {labels:?}, but there are {classes} classes"
            ));
        }
        images.labels.push(label.into());
        images.pixels.extend_from_slice(pixels);
    }
    Ok(())
}

/// Checks that all classes have the same number of images: the best check of a folder without
/// checksums.
fn check_balance(dataset: DatasetName, images: &Images) -> Result<(), String> {
    let classes = if dataset == DatasetName::Cifar100 { 100 } else { 10 };
    let mut counts = vec![0_usize; classes];
    images.labels.iter().for_each(|&label| counts[label as usize] += 1);
    let each = images.len() / classes;
    match counts.iter().position(|&count| count != each) {
        Some(class) => Err(format!("class {class} has {} images, expected {each}", counts[class])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_whatever_make_the_reader_panic(
            head in prop::collection::vec(any::<u8>(), 0..16), records in 0usize..3, fine in any::<bool>(),
        ) {
            let dataset = if fine { DatasetName::Cifar100 } else { DatasetName::Cifar10 };
            let mut bytes = head.clone();
            bytes.resize(record_bytes(dataset) * records + if records > 0 { 0 } else { head.len() }, 255);
            let mut images = Images { pixels: Vec::new(), labels: Vec::new(), shape: SHAPE };
            if parse(dataset, &bytes, &mut images).is_ok() {
                prop_assert_eq!(images.pixels.len(), images.len() * PIXELS);
                prop_assert!(images.pixels.len() <= bytes.len());
            }
        }
    }
}
