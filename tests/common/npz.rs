//! Files of arrays as NumPy writes them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Cursor, Write};

use zip::write::{SimpleFileOptions, ZipWriter};

/// An array in the format `.npy`.
pub fn npy(descr: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
    npy_of(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}"), bytes)
}

/// An array with this header.
pub fn npy_of(header: &str, bytes: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), bytes].concat()
}

pub fn bytes(shape: &[usize], values: &[u8]) -> Vec<u8> {
    npy("|u1", shape, values)
}

pub fn floats(shape: &[usize], values: &[f32]) -> Vec<u8> {
    npy("<f4", shape, &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

pub fn labels(values: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    npy("<i8", &[values.len()], &bytes)
}

/// An archive of arrays, as `np.savez` or `np.savez_compressed` writes it.
pub fn npz(arrays: &[(&str, Vec<u8>)], compressed: bool) -> Vec<u8> {
    use zip::CompressionMethod::{Deflated, Stored};
    let method = if compressed { Deflated } else { Stored };
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(array).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
