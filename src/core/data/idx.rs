//! `mnist` and `fashion-mnist`: the IDX format (LeCun, Cortes & Burges, *The MNIST database*).
//!
//! An IDX file is `00 00`, the type of its elements (`08`: unsigned bytes), the number of
//! dimensions, each dimension as a big-endian `u32`, and the elements in row-major order.

use std::path::PathBuf;

use super::Images;
use super::files::{self, DataError, FileSpec, Place};
use crate::job::DatasetName;

const IMAGE_HEADER: u64 = 4 + 3 * 4;
const LABEL_HEADER: u64 = 4 + 4;

/// Names of the four files: training images and labels, test images and labels.
pub(crate) const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

const FASHION_MNIST: [&str; 4] = [
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
];

const MNIST: [&str; 4] = [
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
];

/// The files of `mnist` or `fashion-mnist`, in the order of [`NAMES`].
pub(crate) fn files(dataset: DatasetName) -> [FileSpec; 4] {
    let sums = if dataset == DatasetName::Mnist { MNIST } else { FASHION_MNIST };
    let mut files = specs(60_000, 10_000, [28, 28]);
    for (file, sum) in files.iter_mut().zip(sums) {
        file.sha256 = Some(sum.to_owned());
    }
    files
}

/// The files, without checksums, of a data set of that many images of height × width.
pub fn specs(train: u64, test: u64, [height, width]: [u64; 2]) -> [FileSpec; 4] {
    let pixels = height * width;
    let bytes = [
        IMAGE_HEADER + train * pixels,
        LABEL_HEADER + train,
        IMAGE_HEADER + test * pixels,
        LABEL_HEADER + test,
    ];
    std::array::from_fn(|i| FileSpec { name: NAMES[i].to_owned(), bytes: bytes[i], sha256: None })
}

/// The folders below a data folder that may hold the files, the best first: our own, those of
/// torchvision, and the data folder itself.
pub fn folders(place: &Place) -> Vec<PathBuf> {
    let torchvision =
        if place.dataset == DatasetName::Mnist { "MNIST/raw" } else { "FashionMNIST/raw" };
    let own = place.dataset.name();
    [own, &format!("{own}/raw"), torchvision, "", "raw"]
        .iter()
        .map(|folder| place.dir.join(folder))
        .collect()
}

/// Reads training and test images from the first folder that holds all of the files, or else most
/// of them.
///
/// # Errors
/// [`DataError`].
pub(crate) fn read(place: &Place, files: &[FileSpec; 4]) -> Result<(Images, Images), DataError> {
    let folders = folders(place);
    let held = |folder: &PathBuf| {
        files
            .iter()
            .filter(|file| files::find(std::slice::from_ref(folder), &file.name).is_some())
            .count()
    };
    // Of equals, max_by_key takes the last.
    let folder =
        folders.iter().rev().max_by_key(|folder| held(folder)).filter(|folder| held(folder) > 0);
    let load = |file: &FileSpec| {
        let folders = folder.map_or(&folders[..], std::slice::from_ref);
        let path =
            files::find(folders, &file.name).ok_or_else(|| place.missing(&file.name, folders))?;
        let bytes = files::read(&path, file).map_err(|problem| place.problem(&path, problem))?;
        Ok::<_, DataError>((path, bytes))
    };
    let [train_images, train_labels, test_images, test_labels] = files;
    let set = |images: &FileSpec, labels: &FileSpec| {
        let (path, bytes) = load(labels)?;
        let labels = parse_labels(&bytes).map_err(|problem| place.corrupt(&path, problem))?;
        let (path, bytes) = load(images)?;
        let (pixels, shape) =
            parse_images(bytes).map_err(|problem| place.corrupt(&path, problem))?;
        let count = pixels.len() / shape.iter().product::<usize>().max(1);
        if count != labels.len() {
            let labels = labels.len();
            let problem = format!("it holds {count} images, but there are {labels} labels");
            return Err(place.corrupt(&path, problem));
        }
        Ok(Images { pixels, labels, shape })
    };
    Ok((set(train_images, train_labels)?, set(test_images, test_labels)?))
}

/// The pixels of an image file, `[image, 1, height, width]`, and the shape of an image.
///
/// # Errors
/// Says what is wrong with the file.
pub(crate) fn parse_images(mut bytes: Vec<u8>) -> Result<(Vec<u8>, [usize; 3]), String> {
    let (header, dimensions) = parse_header::<3>(&bytes)?;
    bytes.drain(..header);
    Ok((bytes, [1, dimensions[1], dimensions[2]]))
}

/// The labels of a label file.
///
/// # Errors
/// Says what is wrong with the file.
pub(crate) fn parse_labels(bytes: &[u8]) -> Result<Vec<i64>, String> {
    let (header, _) = parse_header::<1>(bytes)?;
    Ok(bytes[header..].iter().map(|&label| label.into()).collect())
}

/// The length of the header and its `D` dimensions, after checking that exactly that many elements
/// follow.
fn parse_header<const D: usize>(bytes: &[u8]) -> Result<(usize, [usize; D]), String> {
    let length = 4 + 4 * D;
    let (Some(magic), Some(sizes)) = (bytes.get(..4), bytes.get(4..length)) else {
        return Err(format!("it has {} bytes, too few for an IDX header", bytes.len()));
    };
    let expected = [0, 0, 8, D as u8];
    if magic != expected {
        return Err(format!(
            "it is not an IDX file of bytes with {D} dimension(s): it begins with {magic:02x?}, expected {expected:02x?}"
        ));
    }
    let mut dimensions = [0; D];
    let mut promised = 1_u128; // three factors below 2^32 cannot overflow it
    for (dimension, size) in dimensions.iter_mut().zip(sizes.chunks_exact(4)) {
        let size = size.iter().fold(0_u32, |size, &byte| size << 8 | u32::from(byte));
        promised *= u128::from(size);
        *dimension = size as usize;
    }
    let follow = bytes.len() - length;
    if promised != follow as u128 || promised == 0 {
        return Err(format!(
            "its header promises {dimensions:?} = {promised} bytes, but {follow} follow"
        ));
    }
    Ok((length, dimensions))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::path::Path;

    /// An image file of `n` images of 2×3 pixels, and its labels.
    fn genuine(n: usize) -> [Vec<u8>; 2] {
        let mut images = vec![0, 0, 8, 3];
        [n as u32, 2, 3].iter().for_each(|size| images.extend(size.to_be_bytes()));
        images.extend((0..n * 6).map(|i| (i * 7) as u8));
        let mut labels = vec![0, 0, 8, 1];
        labels.extend((n as u32).to_be_bytes());
        labels.extend((0..n).map(|i| (i % 10) as u8));
        [images, labels]
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn place(dir: &Path) -> Place {
        Place { dataset: DatasetName::FashionMnist, dir: dir.to_owned() }
    }

    /// Writes the four files, 12 training and 5 test images, as `name(i)` and `content(bytes)`.
    fn write(folder: &Path, name: impl Fn(&str) -> String, content: impl Fn(&[u8]) -> Vec<u8>) {
        std::fs::create_dir_all(folder).unwrap();
        for (n, names) in [(12, &NAMES[..2]), (5, &NAMES[2..])] {
            for (file, bytes) in names.iter().zip(genuine(n)) {
                std::fs::write(folder.join(name(file)), content(&bytes)).unwrap();
            }
        }
    }

    #[test]
    fn files_are_found_gzipped_or_not_wherever_torchvision_or_a_user_puts_them() {
        let dir = tempfile::tempdir().unwrap();
        for (i, folder) in
            ["fashion-mnist", "fashion-mnist/raw", "FashionMNIST/raw", "", "raw"].iter().enumerate()
        {
            let dir = dir.path().join(i.to_string());
            match i % 3 {
                0 => write(&dir.join(folder), |name| name.to_owned(), <[u8]>::to_vec),
                1 => write(&dir.join(folder), |name| format!("{name}.gz"), gzip),
                // The content decides, not the name.
                _ => write(&dir.join(folder), |name| format!("{name}.gz"), <[u8]>::to_vec),
            }
            let (train, test) = read(&place(&dir), &specs(12, 5, [2, 3])).unwrap();
            assert_eq!((train.len(), test.len(), train.shape), (12, 5, [1, 2, 3]));
            assert_eq!(train.labels[11], 1);
            assert_eq!(train.pixels[..3], [0, 7, 14]);
        }
    }

    #[test]
    fn a_missing_file_is_named_together_with_where_it_should_be() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("fashion-mnist"), |name| name.to_owned(), <[u8]>::to_vec);
        std::fs::remove_file(dir.path().join("fashion-mnist").join(NAMES[3])).unwrap();
        let error = read(&place(dir.path()), &specs(12, 5, [2, 3])).unwrap_err();
        let looked = dir.path().join("fashion-mnist");
        let says = format!("{} is missing (looked in {})", NAMES[3], looked.display());
        assert!(error.to_string().contains(&says), "{error}");
    }

    #[test]
    fn truncated_flipped_and_overlong_files_are_refused_by_name() {
        use sha2::Digest;
        let mut specs = specs(12, 5, [2, 3]);
        for (spec, bytes) in specs.iter_mut().zip(genuine(12).iter().chain(&genuine(5))) {
            spec.sha256 = Some(files::hex(&sha2::Sha256::digest(bytes)));
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("fashion-mnist");
        write(&folder, |name| name.to_owned(), <[u8]>::to_vec);
        assert!(read(&place(dir.path()), &specs).is_ok());

        let [good, _] = genuine(12);
        let changed = |bytes: &[u8], at: usize, mask: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= mask;
            bytes
        };
        let zipped = gzip(&good);
        for (bytes, says) in [
            (good[..good.len() - 1].to_vec(), "truncated"),
            (zipped[..zipped.len() - 9].to_vec(), "truncated"),
            (Vec::new(), "truncated"),
            (changed(&good, 40, 1), "checksum is wrong"),
            ([&good[..], &[0]].concat(), "more than the expected 88 bytes"),
            (gzip(&vec![0; 1 << 22]), "more than the expected 88 bytes"),
            (changed(&zipped, 20, 0x55), "it "),
        ] {
            std::fs::write(folder.join(NAMES[0]), &bytes).unwrap();
            let text = read(&place(dir.path()), &specs).unwrap_err().to_string();
            for part in [NAMES[0], says, "wninit fetch", "to replace it"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    #[test]
    fn a_header_that_promises_more_images_than_follow_is_refused() {
        let [mut images, _] = genuine(4);
        images[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(parse_images(images.clone()).unwrap_err().contains("but 24 follow"));
        images[4..16].fill(0xff); // 2^96 pixels
        assert!(parse_images(images).unwrap_err().contains("but 24 follow"));
        assert!(parse_images(genuine(4)[1].clone()).is_err(), "labels are no images");
        assert!(parse_labels(&genuine(4)[0]).is_err(), "images are no labels");
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_the_readers_panic_or_invent_pixels(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            magic in any::<bool>(), dimensions in 0u8..4,
        ) {
            let mut file = if magic { vec![0, 0, 8, dimensions] } else { Vec::new() };
            file.extend(bytes);
            let length = file.len();
            if let Ok(labels) = parse_labels(&file) {
                prop_assert!(labels.len() < length);
            }
            if let Ok((pixels, shape)) = parse_images(file) {
                prop_assert!(pixels.len() < length && pixels.len() % shape.iter().product::<usize>() == 0);
            }
        }

        #[test]
        fn a_changed_header_byte_is_never_accepted(at in 0usize..16, flip in 1u8..) {
            let [mut images, _] = genuine(7);
            images[at] ^= flip;
            prop_assert!(parse_images(images).is_err());
        }
    }
}
