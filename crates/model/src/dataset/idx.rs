//! IDX files, gzip-compressed or not: <http://yann.lecun.com/exdb/mnist/>.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use network::Image;

use super::Dataset;
use super::source::Selection;
use crate::Error;

/// The largest file, decompressed.
const MAX_BYTES: u64 = 1 << 32;

/// An array of bytes of any rank.
struct Bytes {
    dimensions: Vec<usize>,
    values: Vec<u8>,
}

/// Reads images (rank 3: `[n, height, width]`, or rank 4: `[n, channels, height, width]`) and labels.
pub(super) fn read(images: &Path, labels: &Path, selection: &Selection) -> Result<Dataset, Error> {
    let Bytes { dimensions, values } = bytes(images)?;
    let (n, [channels, height, width]) = match *dimensions {
        [n, height, width] => (n, [1, height, width]),
        [n, channels, height, width] => (n, [channels, height, width]),
        _ => return Err(Error::file(images, format!("expected images, rank 3 or 4, got dimensions {dimensions:?}"))),
    };
    let Bytes { dimensions, values: classes } = bytes(labels)?;
    if dimensions != [n] {
        return Err(Error::file(
            labels,
            format!("expected {n} labels, as there are images, got dimensions {dimensions:?}"),
        ));
    }
    let area = height * width;
    if n == 0 || area == 0 || !matches!(channels, 1 | 3) {
        return Err(Error::file(images, format!("expected images with 1 or 3 channels, got {dimensions:?}")));
    }
    let kept: Vec<usize> = (0..n).filter(|&i| selection.keeps(usize::from(classes[i]))).collect();
    let [out_height, out_width] = selection.size.unwrap_or([height, width]);
    let mut pixels = Vec::with_capacity(kept.len() * channels * out_height * out_width);
    for &i in &kept {
        let image =
            Image::from_8_bit([channels, height, width], &values[i * channels * area..(i + 1) * channels * area])?;
        pixels.extend(image.resized(out_height, out_width)?.pixels().iter().map(|&pixel| pixel as f32));
    }
    let n_classes = 1 + usize::from(*classes.iter().max().expect("there is a label"));
    let labels = kept.iter().map(|&i| usize::from(classes[i])).collect();
    Dataset::new([channels, out_height, out_width], pixels, labels, n_classes)
}

fn bytes(path: &Path) -> Result<Bytes, Error> {
    let mut packed = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut packed)).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    if packed.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(packed.as_slice()).take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| {
            Error::file(path, format!("cannot be decompressed ({error}); the file is truncated or damaged"))
        })?;
    } else {
        bytes = packed;
    }
    let [0, 0, 8, rank, rest @ ..] = bytes.as_slice() else {
        return Err(Error::file(path, "expected an IDX file of unsigned bytes (it starts with 0, 0, 8 and the rank)"));
    };
    let rank = usize::from(*rank);
    if rest.len() < 4 * rank {
        return Err(Error::file(path, "the file ends inside its header"));
    }
    let (header, values) = rest.split_at(4 * rank);
    let dimensions: Vec<usize> =
        header.chunks_exact(4).map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize).collect();
    let expected = dimensions.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
    if expected != Some(values.len()) {
        return Err(Error::file(
            path,
            format!(
                "dimensions {dimensions:?} need as many bytes, got {}: the file is truncated or damaged",
                values.len()
            ),
        ));
    }
    Ok(Bytes { dimensions, values: values.to_vec() })
}
