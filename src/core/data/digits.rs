//! `digits`: the UCI optical digits, embedded. README.md beside this file has source and licence.

use std::io::Read;

use super::Images;

const IMAGES: usize = 1797;
const PIXELS: usize = 64;

/// 64 planes of pixels 0 … 16 and one of labels, each of 1,797 bytes; see `make_digits.py`.
static PLANES: &[u8] = include_bytes!("digits.zlib");

/// The training and the test images. With the images sorted by class, each class in its original
/// order, every fifth one from the first is a test image; this split never changes.
///
/// # Errors
/// The embedded file is damaged.
pub(crate) fn read() -> Result<(Images, Images), String> {
    let mut planes = Vec::with_capacity((PIXELS + 1) * IMAGES);
    flate2::read::ZlibDecoder::new(PLANES)
        .read_to_end(&mut planes)
        .map_err(|error| error.to_string())?;
    if planes.len() != (PIXELS + 1) * IMAGES {
        return Err(format!("it has {} bytes, expected {}", planes.len(), (PIXELS + 1) * IMAGES));
    }
    let labels = &planes[PIXELS * IMAGES..];
    let mut by_class: Vec<usize> = (0..IMAGES).collect();
    by_class.sort_by_key(|&image| labels[image]); // stable
    let mut is_test = [false; IMAGES];
    by_class.iter().step_by(5).for_each(|&image| is_test[image] = true);

    let empty = || Images { pixels: Vec::new(), labels: Vec::new(), shape: [1, 8, 8] };
    let (mut train, mut test) = (empty(), empty());
    for image in 0..IMAGES {
        let set = if is_test[image] { &mut test } else { &mut train };
        set.pixels.extend((0..PIXELS).map(|pixel| {
            let ink = u32::from(planes[pixel * IMAGES + image]);
            ((ink * 255 + 8) / 16) as u8 // 0 … 16 to 0 … 255, rounded
        }));
        set.labels.push(labels[image].into());
    }
    Ok((train, test))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::files::hex;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_embedded_digits_are_those_of_uci() {
        let (train, test) = read().unwrap();
        assert_eq!((train.len(), test.len()), (1437, 360));
        // The first image of digits.csv.gz, a zero; ink 0, 5, 13, 9, 1, …
        assert_eq!(test.labels[0], 0);
        assert_eq!(test.pixels[..8], [0, 0, 80, 207, 143, 16, 0, 0]);
        assert_eq!(test.labels.len() + train.labels.len(), IMAGES);
        // All of it, as `make_digits.py` read it: sha256 of the planes.
        let mut planes = Vec::new();
        flate2::read::ZlibDecoder::new(PLANES).read_to_end(&mut planes).unwrap();
        assert_eq!(hex(&Sha256::digest(&planes)), SHA256);
    }

    #[test]
    fn every_digit_is_in_both_sets_and_the_pixels_span_the_whole_range() {
        let (train, test) = read().unwrap();
        for (set, counts) in [(train, 139..=147), (test, 34..=37)] {
            for digit in 0..10 {
                let count = set.labels.iter().filter(|&&label| label == digit).count();
                assert!(counts.contains(&count), "{digit}");
            }
            assert_eq!((set.pixels.iter().min(), set.pixels.iter().max()), (Some(&0), Some(&255)));
        }
    }

    const SHA256: &str = "ac9fdfe258aefd68bbcff8fd47e4f51466aa6edad18827c191d2c41d9d188f6e";
}
