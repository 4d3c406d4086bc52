"""Makes digits.zlib, the embedded copy of the UCI optical digits, from scikit-learn's.

    pip download --no-deps scikit-learn && unzip scikit_learn-*.whl sklearn/datasets/data/digits.csv.gz
    python3 src/core/data/make_digits.py sklearn/datasets/data/digits.csv.gz src/core/data/digits.zlib

The content is 65 planes of 1,797 bytes: pixel 0 of every image, pixel 1 of every image, ...,
pixel 63 (values 0 to 16), and the labels. A flush after each plane gives each its own Huffman
code, which makes the file a seventh smaller than plain `zlib.compress`.
"""

import gzip
import sys
import zlib

source, target = sys.argv[1:]
with gzip.open(source, "rt") as file:
    rows = [[int(value) for value in line.split(",")] for line in file]
assert len(rows) == 1797 and all(len(row) == 65 for row in rows)
assert all(0 <= pixel <= 16 for row in rows for pixel in row[:64])

compressor = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
planes = b"".join(
    compressor.compress(bytes(plane)) + compressor.flush(zlib.Z_PARTIAL_FLUSH) for plane in zip(*rows)
)
with open(target, "wb") as file:
    file.write(planes + compressor.flush())
