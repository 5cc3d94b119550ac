use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use anyhow::{Context, Result, anyhow, bail};
use network::{ErrorKind, Image, Network, NodeId, contained};

use crate::input;

/// Longest side that is decoded, and most memory for it: hostile files may claim anything.
const LONGEST_SIDE: u32 = 1 << 15;
const MOST_BYTES: u64 = 1 << 30;

/// Reads an image by its extension: PNG, JPEG, `.npy`, or JSON `{"shape": [C, H, W], "pixels": [...]}`.
///
/// An alpha channel is dropped, gray stays one channel, 16 bits keep their precision.
pub fn read(path: &Path) -> Result<Image> {
    let read = match extension(path).as_deref() {
        Some("json") => Image::read_json(path),
        Some("npy") => Image::read_npy(path),
        Some("png" | "jpg" | "jpeg") => return decoded(path),
        _ => bail!("{}: expected an image by its extension: .png, .jpg, .jpeg, .npy or .json", path.display()),
    };
    read.map_err(|error| input::advise(error, "image"))
}

/// Checks that a network takes such images. One of flat inputs says nothing of sides.
pub fn check_fits(network: &Network, image: &Image) -> Result<()> {
    let sides = |shape: &[usize]| shape.iter().copied().filter(|&side| side > 1).collect::<Vec<usize>>();
    let (shape, wanted) = (image.shape(), &network.node(NodeId(0)).shape);
    let has_sides = sides(wanted).len() > 1;
    if image.pixels().len() == network.n_inputs() && (!has_sides || sides(&shape) == sides(wanted)) {
        return Ok(());
    }
    let by = |shape: &[usize]| shape.iter().map(ToString::to_string).collect::<Vec<String>>().join("×");
    let wanted = if has_sides { by(wanted) } else { format!("{} values", network.n_inputs()) };
    bail!("the image is {} (channels × height × width), but the network takes {wanted}", by(&shape))
}

/// Whether images can be written to such a file.
pub fn check_writable(path: &Path) -> Result<()> {
    match extension(path).as_deref() {
        Some("json" | "npy" | "png") => Ok(()),
        _ => bail!("{}: an image is written as .npy, .json or .png, by the extension", path.display()),
    }
}

/// Writes an image by its extension; PNG has eight bits per value, the others hold the same floats.
pub fn write(path: &Path, image: &Image) -> Result<()> {
    check_writable(path)?;
    let bytes = match extension(path).as_deref() {
        Some("json") => image.to_json().into_bytes(),
        Some("npy") => image.to_npy(),
        _ => {
            let [n_channels, height, width] = image.shape();
            let planes = image.to_8_bit();
            let area = height * width;
            let interleaved = (0..area).flat_map(|p| (0..n_channels).map(move |c| c * area + p)).map(|i| planes[i]);
            png(n_channels, [height, width], interleaved.collect())
                .with_context(|| format!("{}: a PNG has one channel or three", path.display()))?
        }
    };
    fs::write(path, bytes).with_context(|| format!("{}: the image cannot be written", path.display()))
}

/// A PNG of gray (1) or RGB (3) bytes, pixel by pixel; `None` for other channels.
pub fn png(n_channels: usize, [height, width]: [usize; 2], bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let image: DynamicImage = match n_channels {
        1 => ::image::GrayImage::from_raw(width, height, bytes)?.into(),
        3 => ::image::RgbImage::from_raw(width, height, bytes)?.into(),
        _ => return None,
    };
    let mut encoded = Cursor::new(Vec::new());
    image.write_to(&mut encoded, ImageFormat::Png).ok()?;
    Some(encoded.into_inner())
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

fn decoded(path: &Path) -> Result<Image> {
    let unreadable = |error| input::advise(network::Error::from(ErrorKind::Io(error)).in_file(path), "image");
    decode(BufReader::new(File::open(path).map_err(unreadable)?), path)
}

/// The image that the bytes of a PNG or JPEG hold; `path` is where they come from.
pub fn decode(bytes: impl BufRead + Seek, path: &Path) -> Result<Image> {
    let unreadable = |error| input::advise(network::Error::from(ErrorKind::Io(error)).in_file(path), "image");
    let mut reader = ImageReader::new(bytes).with_guessed_format().map_err(unreadable)?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height, limits.max_alloc) =
        (Some(LONGEST_SIDE), Some(LONGEST_SIDE), Some(MOST_BYTES));
    reader.limits(limits);
    let undecodable = |error| match error {
        ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => unreadable(error),
        error => anyhow!("{}: this is no PNG or JPEG that can be read: {error}", path.display()),
    };
    let broken =
        |said| anyhow!("{}: this is no PNG or JPEG that can be read: the decoder gave up: {said}", path.display());
    let decoder = contained(|| reader.into_decoder()).map_err(broken)?.map_err(undecodable)?;
    // Decoders take many times the memory of what they decode.
    let (width, height) = decoder.dimensions();
    Image::n_values([decoder.color_type().channel_count().into(), height as usize, width as usize])
        .map_err(|error| error.in_file(path))?;
    let decoded = contained(|| DynamicImage::from_decoder(decoder)).map_err(broken)?.map_err(undecodable)?;
    of_decoded(&decoded).map_err(|error| error.in_file(path).into())
}

/// Channel by channel, scaled to `[0, 1]`.
fn of_decoded(decoded: &DynamicImage) -> Result<Image, network::Error> {
    let n_channels = if decoded.color().has_color() { 3 } else { 1 };
    let shape = [n_channels, decoded.height() as usize, decoded.width() as usize];
    let place = planes(shape);
    if decoded.color().bytes_per_pixel() / decoded.color().channel_count() > 1 {
        let values = if n_channels == 3 { decoded.to_rgb16().into_raw() } else { decoded.to_luma16().into_raw() };
        let scaled = |value: u16| f64::from(f32::from(value) / 65535.0);
        return Image::new(shape, place.map(|i| scaled(values[i])).collect());
    }
    let bytes = if n_channels == 3 { decoded.to_rgb8().into_raw() } else { decoded.to_luma8().into_raw() };
    Image::from_8_bit(shape, &place.map(|i| bytes[i]).collect::<Vec<u8>>())
}

/// Where the values of each channel are, pixel by pixel.
fn planes([n_channels, height, width]: [usize; 3]) -> impl Iterator<Item = usize> {
    (0..n_channels).flat_map(move |c| (0..height * width).map(move |p| p * n_channels + c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_pixel_becomes_one_channel_or_three() {
        let byte = |value: u8| f64::from(f32::from(value) / 255.0);
        let gray = ::image::GrayImage::from_raw(2, 1, vec![51, 255]).unwrap();
        let image = of_decoded(&gray.into()).unwrap();
        assert_eq!((image.shape(), image.pixels()), ([1, 1, 2], &[byte(51), 1.0][..]));
        // What is transparent keeps its colour.
        let rgba = ::image::RgbaImage::from_raw(2, 1, vec![1, 2, 3, 0, 4, 5, 6, 128]).unwrap();
        let image = of_decoded(&rgba.into()).unwrap();
        assert_eq!((image.shape(), image.to_8_bit()), ([3, 1, 2], vec![1, 4, 2, 5, 3, 6]));
        let with_alpha = ::image::GrayAlphaImage::from_raw(1, 1, vec![9, 0]).unwrap();
        assert_eq!(of_decoded(&with_alpha.into()).unwrap().to_8_bit(), [9]);
        let deep = ::image::ImageBuffer::<::image::Luma<u16>, _>::from_raw(2, 1, vec![1_u16, 65535]).unwrap();
        assert_eq!(of_decoded(&deep.into()).unwrap().pixels(), [f64::from(1.0_f32 / 65535.0), 1.0]);
    }

    #[test]
    fn what_a_picture_claims_is_checked_before_it_is_decoded() {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(::image::RgbImage::new(16, 16)).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        let mut bytes = bytes.into_inner();
        // Height and width of the frame, and nothing after the first scan's header.
        let frame = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x40, 0x07, 0x10, 0x09]);
        let scan = bytes.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
        bytes.truncate(scan + 14);
        let error = decode(Cursor::new(bytes), Path::new("claims.jpg")).unwrap_err().to_string();
        assert_eq!(error, "claims.jpg: an image of shape [3, 16391, 4105] has more than 67108864 values");
    }

    #[test]
    fn decoders_that_panic_are_files_that_cannot_be_read() {
        // Found by fuzzing: an upsampler's assertion (zune-jpeg 0.5).
        let bytes = &include_bytes!("../../fuzz/seeds/image/upsampled.jpg")[1..];
        let error = decode(Cursor::new(bytes), Path::new("upsampled.jpg")).unwrap_err().to_string();
        assert!(error.starts_with("upsampled.jpg: this is no PNG or JPEG that can be read"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let gray = Image::new([1, 2, 3], vec![0.1, 0.2, 0.3, 0.4, 0.5, 1.0]).unwrap();
        let colour = Image::new([3, 1, 2], vec![0.1, 0.2, 0.3, 0.4, 0.5, 1.0]).unwrap();
        for image in [gray, colour] {
            for name in ["exact.npy", "exact.json"] {
                let path = folder.path().join(name);
                write(&path, &image).unwrap();
                assert_eq!(read(&path).unwrap(), image);
            }
            let path = folder.path().join("rounded.PNG");
            write(&path, &image).unwrap();
            assert_eq!(read(&path).unwrap(), image.rounded_to_8_bit());
        }
        let two = Image::new([2, 1, 1], vec![0.0, 1.0]).unwrap();
        assert!(write(&folder.path().join("two.png"), &two).unwrap_err().to_string().contains("one channel or three"));
    }
}
