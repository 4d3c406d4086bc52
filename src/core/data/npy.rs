//! The header of NumPy's `.npy` format, of which an `.npz` file is a zip archive:
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (60000, 28, 28), }`.

use std::io::{self, Read};

/// The type of an array's elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Element {
    /// With its name in NumPy.
    const ALL: [(Element, &'static str); 10] = [
        (Element::U8, "uint8"),
        (Element::I8, "int8"),
        (Element::U16, "uint16"),
        (Element::I16, "int16"),
        (Element::U32, "uint32"),
        (Element::I32, "int32"),
        (Element::U64, "uint64"),
        (Element::I64, "int64"),
        (Element::F32, "float32"),
        (Element::F64, "float64"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Element::ALL.iter().find(|(element, _)| *element == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn bytes(self) -> u64 {
        let bits = self.name().trim_start_matches(|c: char| c.is_ascii_alphabetic());
        bits.parse::<u64>().map_or(0, |bits| bits / 8)
    }

    pub(crate) fn is_whole(self) -> bool {
        !matches!(self, Element::F32 | Element::F64)
    }

    /// The element of a NumPy type such as `<f4`, or what it is instead and what to do.
    fn of(descr: &str) -> Result<Element, String> {
        let (order, code) = descr.split_at_checked(1).unwrap_or_default();
        let kind = match code.get(..1) {
            _ if !code.is_ascii() || !matches!(order, "<" | "|" | "=" | ">") => None,
            Some("u") => Some("uint"),
            Some("i") => Some("int"),
            Some("f") => Some("float"),
            _ => None,
        };
        let named = kind.and_then(|kind| {
            let bits = 8 * code[1..].parse::<u32>().ok().filter(|bytes| *bytes <= 8)?;
            let name = format!("{kind}{bits}");
            Element::ALL.into_iter().find(|(_, known)| *known == name)
        });
        match (named, code.get(..1)) {
            (Some((_, name)), _) if order == ">" => {
                Err(format!("is big-endian; save it with .astype(np.{name})"))
            }
            (Some((element, _)), _) => Ok(element),
            (None, Some("O")) => {
                Err("holds Python objects, which would have to be unpickled; save it as an \
                 array of numbers"
                    .to_owned())
            }
            _ => Err(format!("is of the type {descr:?}; save it as numbers")),
        }
    }
}

/// What an array is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub element: Element,
    pub shape: Vec<u64>,
}

impl Header {
    /// The number of elements; `None` if it is too large to count their bytes.
    pub(crate) fn count(&self) -> Option<u64> {
        let count = self.shape.iter().try_fold(1_u64, |count, &n| count.checked_mul(n))?;
        count.checked_mul(8).map(|_| count)
    }
}

/// The longest header, in bytes.
const MAX_HEADER: u32 = 1 << 16;

/// Reads a header, after which the elements follow. Returns its length in bytes, too.
///
/// # Errors
/// What is wrong with the array; completes a sentence that begins with its name.
pub(crate) fn header(reader: &mut dyn Read) -> Result<(Header, u64), String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(failed)?;
    if start[..6] != *b"\x93NUMPY" {
        return Err("is not in the format .npy".to_owned());
    }
    let mut length = [0; 4];
    let width = if start[6] == 1 { 2 } else { 4 };
    reader.read_exact(&mut length[..width]).map_err(failed)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(format!("has a header of {length} bytes, more than {MAX_HEADER}"));
    }
    let mut text = vec![0; length as usize];
    reader.read_exact(&mut text).map_err(failed)?;
    let text = String::from_utf8_lossy(&text);
    let damaged = || format!("has a header that is no description of an array: {text:.200}");
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let descr = value("descr").ok_or_else(damaged)?;
    let element = match descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
        Some((descr, _)) => Element::of(descr)?,
        None => return Err("has named fields; save one array for each".to_owned()),
    };
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let (shape, _) = shape.ok_or_else(damaged)?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes.map(str::parse).collect::<Result<Vec<u64>, _>>().map_err(|_| damaged())?;
    match value("fortran_order") {
        Some(rest) if rest.starts_with("False") => {}
        Some(rest) if rest.starts_with("True") => {
            return Err("is in Fortran's order; save it with np.ascontiguousarray(…)".to_owned());
        }
        _ => return Err(damaged()),
    }
    Ok((Header { element, shape }, 8 + width as u64 + u64::from(length)))
}
