//! `dataset = "file"`: a user's own images or features, from an `.npz` file of NumPy or a
//! `.safetensors` file.
//!
//! The arrays are `x_train`, `y_train`, `x_test` and `y_test`, or `x` and `y`, of which a job's seed
//! holds out a fifth as its test set. Everything is checked before a job exists. Headers are checked
//! first, so that no more is read or allocated than the file holds and the memory has room for.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::npy::{self, Element, Header};
use super::{Data, Images, Pixel};
use crate::fmt::scaled;
use crate::job::{DataHash, DataType, Dataset, MAX_CLASSES, MAX_SIZE};
use crate::memory;

/// A data set in memory, of either type of images.
#[derive(Clone, Debug, PartialEq)]
pub enum Loaded {
    /// Of bytes.
    Bytes(Data),
    /// Of floating-point numbers.
    Floats(Data<f32>),
}

impl Loaded {
    /// The data set.
    pub fn dataset(&self) -> Dataset {
        match self {
            Loaded::Bytes(data) => data.dataset,
            Loaded::Floats(data) => data.dataset,
        }
    }
}

/// Reads and checks a file.
///
/// # Errors
/// Names the file and the array, and says what to do.
pub fn read(path: &Path) -> Result<Loaded, String> {
    let read = || {
        let mut archive = Archive::open(path)?;
        let names = Names::of(&archive.names())?;
        let (x, y) = (archive.header(names.train.0)?, archive.header(names.train.1)?);
        let shape = image_shape(names.train.0, &x.shape)?;
        check_labels(names.train, &x, &y)?;
        let mut headers = vec![x, y];
        if let Some((x_name, y_name)) = names.test {
            let (x, y) = (archive.header(x_name)?, archive.header(y_name)?);
            let of_training = &headers[0];
            if x.shape.get(1..) != of_training.shape.get(1..) || x.element != of_training.element {
                return Err(format!(
                    "{x_name} is {} of the shape {:?}, but {} is {} of the shape {:?}; training and test \
                     images have the same type and shape",
                    x.element.name(),
                    x.shape,
                    names.train.0,
                    of_training.element.name(),
                    of_training.shape
                ));
            }
            image_shape(x_name, &x.shape)?;
            check_labels((x_name, y_name), &x, &y)?;
            headers.extend([x, y]);
        }
        check_room(&headers, memory::free(Path::new("/")))?;
        match headers[0].element {
            Element::U8 => data(&mut archive, names, shape).map(Loaded::Bytes),
            Element::F32 | Element::F64 => data(&mut archive, names, shape).map(Loaded::Floats),
            other => Err(format!(
                "{} is {}; images are bytes, saved with .astype(np.uint8), or numbers, saved with \
                 .astype(np.float32)",
                names.train.0,
                other.name()
            )),
        }
    };
    read().map_err(|problem: String| format!("{}: {problem}", path.display()))
}

/// The names of the arrays of images and of labels.
#[derive(Clone, Copy)]
struct Names {
    train: (&'static str, &'static str),
    test: Option<(&'static str, &'static str)>,
}

impl Names {
    fn of(found: &[String]) -> Result<Names, String> {
        let has = |name: &str| found.iter().any(|found| found == name);
        let divided = Names { train: ("x_train", "y_train"), test: Some(("x_test", "y_test")) };
        let whole = Names { train: ("x", "y"), test: None };
        let wanted = ["x_train", "y_train", "x_test", "y_test"];
        let missing: Vec<&str> = wanted.into_iter().filter(|name| !has(name)).collect();
        if missing.is_empty() {
            return Ok(divided);
        }
        if missing.len() == wanted.len() && has("x") && has("y") {
            return Ok(whole);
        }
        let some = found.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(format!(
            "it has no {}; name its arrays x_train, y_train, x_test and y_test, or x and y (found: {})",
            if missing.len() == wanted.len() {
                "x_train, or x and y".to_owned()
            } else {
                missing.join(", ")
            },
            if some.is_empty() { "none" } else { &some }
        ))
    }
}

/// Channels, height and width of the images of an array.
fn image_shape(name: &str, shape: &[u64]) -> Result<[u16; 3], String> {
    let image = match *shape {
        [_, features] => [1, 1, features],
        [_, height, width] => [1, height, width],
        [_, height, width, channels @ (1 | 3 | 4)] if height == width && height > 4 => {
            return Err(format!(
                "{name} has the shape {shape:?}, which looks like [n, height, width, channels]; save it with \
                 .transpose(0, 3, 1, 2), as [n, {channels}, {height}, {width}]"
            ));
        }
        [_, channels, height, width] => [channels, height, width],
        _ => {
            return Err(format!(
                "{name} has the shape {shape:?}; images are [n, height, width] or [n, channels, height, width], \
                 and features are [n, features]"
            ));
        }
    };
    if shape.contains(&0) {
        return Err(format!("{name} is empty: it has the shape {shape:?}"));
    }
    match image.iter().find(|size| **size > MAX_SIZE) {
        Some(size) => Err(format!(
            "{name} has the shape {shape:?}, and {size} is more than {MAX_SIZE}, the most along an axis of an image"
        )),
        None => Ok(image.map(|size| size as u16)),
    }
}

/// Checks the type, shape and length of labels.
fn check_labels((x_name, y_name): (&str, &str), x: &Header, y: &Header) -> Result<(), String> {
    if !y.element.is_whole() {
        let name = y.element.name();
        return Err(format!(
            "{y_name} is {name}; labels are whole numbers from 0, saved with .astype(np.int64)"
        ));
    }
    let count = match *y.shape {
        [count] | [count, 1] => count,
        _ => {
            return Err(format!(
                "{y_name} has the shape {:?}; labels are [n] or [n, 1] (of one-hot labels save .argmax(1))",
                y.shape
            ));
        }
    };
    let images = x.shape[0];
    if count != images {
        return Err(format!("{x_name} has {images} images, but {y_name} has {count} labels"));
    }
    if count > u64::from(u32::MAX) {
        return Err(format!("{x_name} has {count} images, more than {}", u32::MAX));
    }
    Ok(())
}

/// An open file with arrays.
enum Archive {
    Npz(ZipArchive<BufReader<File>>),
    Safetensors(Vec<u8>),
}

impl Archive {
    fn open(path: &Path) -> Result<Archive, String> {
        let failed = |error: io::Error| format!("cannot be read: {error}");
        // Opening a pipe would wait for its writer.
        let about = path.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err("it is not a file; name an .npz or .safetensors file".to_owned());
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut magic = Vec::new();
        file.by_ref().take(6).read_to_end(&mut magic).map_err(failed)?;
        file.rewind().map_err(failed)?;
        if magic.starts_with(b"PK") {
            let archive = ZipArchive::new(BufReader::new(file));
            return archive.map(Archive::Npz).map_err(|error| {
                format!(
                    "it is truncated or damaged ({error}); save it again with np.savez_compressed"
                )
            });
        }
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let mut bytes = reserve(about.len(), "it")?;
            file.take(about.len()).read_to_end(&mut bytes).map_err(failed)?;
            SafeTensors::deserialize(&bytes).map_err(|error| {
                format!("it is truncated or no safetensors file ({error}); save it again")
            })?;
            return Ok(Archive::Safetensors(bytes));
        }
        Err(match &magic[..] {
            b"\x93NUMPY" => {
                "it is a single array; save all of them with np.savez_compressed".to_owned()
            }
            _ => "it is no .npz file; save it with np.savez_compressed, or as .safetensors"
                .to_owned(),
        })
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Archive::Npz(archive) => {
                let names = archive.file_names();
                names.filter_map(|name| name.strip_suffix(".npy")).map(str::to_owned).collect()
            }
            Archive::Safetensors(bytes) => SafeTensors::deserialize(bytes)
                .map(|tensors| tensors.names().into_iter().map(str::to_owned).collect())
                .unwrap_or_default(),
        };
        names.sort();
        names
    }

    /// Calls `read` with an array's header and a reader of exactly its elements.
    fn array<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Header, &mut dyn Read) -> Result<T, String>,
    ) -> Result<T, String> {
        let problem = |problem: &dyn Display| format!("{name} {problem}");
        let damaged =
            |error: &dyn Display| format!("{name} is damaged ({error}); save the file again");
        match self {
            Archive::Npz(archive) => {
                let mut entry =
                    archive.by_name(&format!("{name}.npy")).map_err(|error| damaged(&error))?;
                let declared = entry.size();
                let (header, length) = npy::header(&mut entry).map_err(|p| problem(&p))?;
                let bytes = header.count().map(|count| count * header.element.bytes());
                if bytes.and_then(|bytes| bytes.checked_add(length)) != Some(declared) {
                    return Err(damaged(&format_args!(
                        "its header announces the shape {:?}, but it has {declared} bytes",
                        header.shape
                    )));
                }
                read(&header, &mut entry)
            }
            Archive::Safetensors(bytes) => {
                let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
                let tensor = tensors.tensor(name).map_err(|error| damaged(&error))?;
                let element = match tensor.dtype() {
                    Dtype::U8 => Element::U8,
                    Dtype::I8 => Element::I8,
                    Dtype::U16 => Element::U16,
                    Dtype::I16 => Element::I16,
                    Dtype::U32 => Element::U32,
                    Dtype::I32 => Element::I32,
                    Dtype::U64 => Element::U64,
                    Dtype::I64 => Element::I64,
                    Dtype::F32 => Element::F32,
                    Dtype::F64 => Element::F64,
                    other => {
                        return Err(problem(&format_args!(
                            "is of the type {other:?}; save it as float32, or labels as int64"
                        )));
                    }
                };
                let shape = tensor.shape().iter().map(|&size| size as u64).collect();
                read(&Header { element, shape }, &mut tensor.data())
            }
        }
    }

    fn header(&mut self, name: &str) -> Result<Header, String> {
        self.array(name, |header, _| Ok(header.clone()))
    }
}

/// Checks that the arrays fit into the free memory twice: training copies them to its device.
fn check_room(headers: &[Header], free: Option<f64>) -> Result<(), String> {
    let bytes = |header: &Header| {
        let each = match header.element {
            Element::U8 => 1.0,
            Element::F32 | Element::F64 => 4.0,
            _ => 8.0, // labels
        };
        each * header.shape.iter().map(|&size| size as f64).product::<f64>()
    };
    let needed = 2.0 * headers.iter().map(bytes).sum::<f64>();
    match free {
        Some(free) if needed > free => Err(format!(
            "its arrays need {} of memory, and {} are free; save fewer images, or bytes instead of numbers",
            scaled(needed, "B"),
            scaled(free, "B")
        )),
        _ => Ok(()),
    }
}

/// A vector with room for as many elements of an array.
fn reserve<T>(count: u64, name: &str) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    let reserved = usize::try_from(count).map(|count| values.try_reserve_exact(count));
    match reserved {
        Ok(Ok(())) => Ok(values),
        _ => Err(format!("{name} does not fit into memory")),
    }
}

/// The elements of an array of `N` bytes each.
fn elements<T, const N: usize>(
    name: &str,
    header: &Header,
    reader: &mut dyn Read,
    convert: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, String> {
    const CHUNK: usize = 1 << 13;
    let damaged = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("{name} is truncated; save the file again"),
        _ => format!("{name} is damaged ({error}); save the file again"),
    };
    let count = header.count().unwrap_or(u64::MAX);
    let mut values = reserve(count, name)?;
    let mut left = count as usize;
    let mut buffer = vec![0; CHUNK * N];
    while left > 0 {
        let chunk = &mut buffer[..left.min(CHUNK) * N];
        reader.read_exact(chunk).map_err(damaged)?;
        values.extend(chunk.as_chunks::<N>().0.iter().map(|bytes| convert(*bytes)));
        left -= left.min(CHUNK);
    }
    // The end of a zip entry is where its checksum is compared.
    match reader.read(&mut buffer[..1]).map_err(damaged)? {
        0 => Ok(values),
        _ => Err(format!(
            "{name} is damaged: it is longer than its header says; save the file again"
        )),
    }
}

/// A type of images that a file may have.
trait Contents: Pixel {
    const TYPE: DataType;

    /// The elements of an array of images.
    fn pixels(name: &str, header: &Header, reader: &mut dyn Read) -> Result<Vec<Self>, String>;

    fn hash(pixels: &[Self], sha256: &mut Sha256);
}

impl Contents for u8 {
    const TYPE: DataType = DataType::Uint8;

    fn pixels(name: &str, header: &Header, reader: &mut dyn Read) -> Result<Vec<u8>, String> {
        elements(name, header, reader, |[byte]| byte)
    }

    fn hash(pixels: &[u8], sha256: &mut Sha256) {
        sha256.update(pixels);
    }
}

impl Contents for f32 {
    const TYPE: DataType = DataType::Float32;

    fn pixels(name: &str, header: &Header, reader: &mut dyn Read) -> Result<Vec<f32>, String> {
        let pixels = match header.element {
            Element::F64 => elements(name, header, reader, |b| f64::from_le_bytes(b) as f32)?,
            _ => elements(name, header, reader, f32::from_le_bytes)?,
        };
        let each = header.shape[1..].iter().product::<u64>();
        match pixels.iter().position(|x| !x.is_finite()) {
            None => Ok(pixels),
            Some(at) => Err(format!(
                "{name} is {} in image {} (from 0); every value must be finite in single precision, so \
                 repair it or leave the image out",
                pixels[at],
                at as u64 / each
            )),
        }
    }

    fn hash(pixels: &[f32], sha256: &mut Sha256) {
        for pixels in pixels.chunks(1 << 12) {
            sha256.update(pixels.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
    }
}

/// The contents of a file whose headers are good.
fn data<P: Contents>(
    archive: &mut Archive,
    names: Names,
    shape: [u16; 3],
) -> Result<Data<P>, String> {
    let mut set = |(x, y): (&str, &str)| {
        Ok::<_, String>(Images {
            pixels: archive.array(x, |header, reader| P::pixels(x, header, reader))?,
            labels: archive.array(y, |header, reader| labels(y, header, reader))?,
            shape: shape.map(usize::from),
        })
    };
    let train = set(names.train)?;
    let test = names.test.map(&mut set).transpose()?;
    let (y_train, largest) = (names.train.1, train.labels.iter().max().copied().unwrap_or(0));
    let classes = largest as u64 + 1;
    if classes < 2 {
        return Err(format!("{y_train} has one class only; at least two are needed"));
    }
    let mut seen = vec![false; classes as usize];
    train.labels.iter().for_each(|&label| seen[label as usize] = true);
    if let Some(missing) = seen.iter().position(|seen| !seen) {
        return Err(format!(
            "no image of {y_train} is of class {missing}, but its largest label is {largest}; number the \
             classes from 0 without gaps"
        ));
    }
    if let (Some(test), Some((_, y_test))) = (&test, names.test)
        && let Some(label) = test.labels.iter().find(|label| **label > largest)
    {
        return Err(format!("{y_test} has the label {label}, which no image of {y_train} has"));
    }
    let test =
        test.unwrap_or(Images { pixels: Vec::new(), labels: Vec::new(), shape: train.shape });
    let (train_images, test_images) = (train.len() as u32, test.len() as u32);
    if names.test.is_none() && train_images < 10 {
        return Err(format!(
            "{} has {train_images} images, too few to hold out a fifth",
            names.train.0
        ));
    }
    let [c, h, w] = shape;
    let about = format!("wninit data 1\n{} {c}x{h}x{w} {train_images} {test_images}\n", P::TYPE);
    let mut sha256 = Sha256::new_with_prefix(about);
    for images in [&train, &test] {
        P::hash(&images.pixels, &mut sha256);
        let labels: Vec<u8> = images.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        sha256.update(labels);
    }
    let dataset = Dataset::File {
        hash: DataHash::from_sha256(sha256),
        data_type: P::TYPE,
        shape,
        classes: classes as u16,
        train: train_images,
        test: test_images,
    };
    Ok(Data { dataset, train, test })
}

fn labels(name: &str, header: &Header, reader: &mut dyn Read) -> Result<Vec<i64>, String> {
    let labels = match header.element {
        Element::U8 => elements(name, header, reader, |b| u8::from_le_bytes(b).into()),
        Element::I8 => elements(name, header, reader, |b| i8::from_le_bytes(b).into()),
        Element::U16 => elements(name, header, reader, |b| u16::from_le_bytes(b).into()),
        Element::I16 => elements(name, header, reader, |b| i16::from_le_bytes(b).into()),
        Element::U32 => elements(name, header, reader, |b| u32::from_le_bytes(b).into()),
        Element::I32 => elements(name, header, reader, |b| i32::from_le_bytes(b).into()),
        Element::U64 => elements(name, header, reader, |b| {
            i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX)
        }),
        _ => elements(name, header, reader, i64::from_le_bytes),
    }?;
    match labels.iter().position(|label| !(0..MAX_CLASSES as i64).contains(label)) {
        None => Ok(labels),
        Some(at) => Err(format!(
            "{name} has the label {} for image {at} (from 0); labels are whole numbers from 0 to {}",
            labels[at],
            MAX_CLASSES - 1
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arrays_that_do_not_fit_into_memory_twice_are_refused_before_they_are_read() {
        let header = |element, shape: &[u64]| Header { element, shape: shape.to_vec() };
        let (x, y) = (header(Element::U8, &[1000, 10, 10]), header(Element::I16, &[1000]));
        assert_eq!(check_room(&[x.clone(), y.clone()], Some(216_000.0)), Ok(()));
        let error = check_room(&[x, y], Some(215_000.0)).unwrap_err();
        assert!(error.contains("need 216 kB of memory, and 215 kB are free"), "{error}");
        let bomb = header(Element::F64, &[u64::MAX, u64::MAX, 2]);
        assert!(check_room(&[bomb], Some(1e15)).is_err());
    }
}
