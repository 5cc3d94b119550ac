//! Image files.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader};
use network::{Image, contained};

use crate::Error;

/// Reads a PNG, JPEG or portable pixmap with 1 (grey) or 3 (colour) channels.
///
/// A colour image becomes grey by the weights of ITU-R 601, as in Pillow; transparency is dropped.
pub(super) fn read(path: &Path, channels: usize) -> Result<Image, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let unreadable = |error| Error::file(path, format!("expected a PNG, JPEG or PPM image: {error}"));
    let reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(Error::io(path))?;
    let broken = |said| Error::file(path, format!("expected a PNG, JPEG or PPM image: the decoder gave up: {said}"));
    let decoder = contained(|| reader.into_decoder()).map_err(broken)?.map_err(unreadable)?;
    // Decoders take many times the memory of what they decode.
    let (width, height) = decoder.dimensions();
    Image::n_values([decoder.color_type().channel_count().into(), height as usize, width as usize])
        .map_err(|error| Error::Network(error.in_file(path)))?;
    let image = contained(|| DynamicImage::from_decoder(decoder)).map_err(broken)?.map_err(unreadable)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let is_grey = !image.color().has_color();
    let samples = match channels {
        1 if is_grey => image.into_luma8().into_raw(),
        1 => image.into_rgb8().pixels().map(|pixel| grey(pixel.0)).collect(),
        3 => {
            let interleaved = image.into_rgb8().into_raw();
            (0..3).flat_map(|c| interleaved.iter().skip(c).step_by(3)).copied().collect()
        }
        _ => return Err(Error::invalid(format!("images have 1 or 3 channels, not {channels}"))),
    };
    Image::from_8_bit([channels, height, width], &samples).map_err(|error| Error::Network(error.in_file(path)))
}

/// The part that starts at `[top, left]` and has the given size; `None` when it sticks out.
pub(super) fn crop(image: &Image, [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Option<Image> {
    let [channels, whole_height, whole_width] = image.shape();
    if top + height > whole_height || left + width > whole_width {
        return None;
    }
    let rows = (0..channels * height).map(|i| (i / height * whole_height + top + i % height) * whole_width + left);
    let pixels = rows.flat_map(|start| &image.pixels()[start..start + width]).copied().collect();
    Image::new([channels, height, width], pixels).ok()
}

/// Luminance as Pillow computes it.
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_a_picture_claims_is_checked_before_it_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claims.ppm");
        std::fs::write(&path, "P6 16391 4105 255\n").unwrap();
        let error = read(&path, 3).unwrap_err().to_string();
        assert!(error.contains("claims.ppm") && error.contains("more than 67108864 values"), "{error}");
        std::fs::write(&path, b"P6 2 1 255\n\x00\x33\xff\xff\x00\x66").unwrap();
        assert_eq!(read(&path, 3).unwrap().to_8_bit(), [0, 255, 0x33, 0, 0xff, 0x66]);
    }
}
