use proptest::prelude::*;

use super::*;

/// Eight-bit values by a formula, the same as in the script that recorded the values below.
fn synthetic([n_channels, height, width]: [usize; 3]) -> Image {
    let mut bytes = Vec::new();
    for k in 0..n_channels {
        for y in 0..height {
            for x in 0..width {
                bytes.push(((k * 97 + y * y * 31 + x * 53 + (x * y) % 17 * 11) % 256) as u8);
            }
        }
    }
    Image::from_8_bit([n_channels, height, width], &bytes).unwrap()
}

/// Shape, new height and width, values: `Image.resize((width, height), Image.BILINEAR)` of Pillow 11.3 for gray and RGB.
#[rustfmt::skip]
const RECORDED: [([usize; 3], [usize; 2], &[u8]); 7] = [
    ([1, 28, 28], [4, 4], &[123, 128, 133, 130, 131, 122, 138, 119, 127, 128, 129, 121, 139, 131, 127, 129]),
    ([1, 9, 7], [4, 11], &[38, 66, 101, 108, 133, 173, 143, 116, 95, 99, 104, 98, 111, 128, 138, 111, 58, 101, 135, 159, 128, 100, 98, 114, 137, 163, 129, 51, 127, 156, 124, 149, 174, 192, 159, 127, 178, 180, 145, 99, 67, 56, 106, 149]),
    ([3, 13, 10], [6, 4], &[85, 135, 115, 137, 117, 109, 136, 119, 124, 120, 150, 145, 160, 125, 100, 138, 133, 140, 130, 129, 97, 148, 182, 113, 128, 87, 114, 112, 125, 115, 125, 127, 129, 133, 131, 147, 121, 101, 144, 127, 105, 96, 112, 101, 124, 105, 120, 193, 140, 129, 98, 120, 120, 131, 98, 130, 108, 118, 125, 131, 102, 156, 148, 120, 96, 120, 135, 137, 118, 158, 125, 100]),
    ([1, 5, 6], [8, 6], &[0, 53, 106, 159, 212, 9, 14, 71, 129, 187, 133, 47, 37, 102, 150, 215, 40, 104, 95, 167, 62, 134, 125, 197, 92, 171, 73, 72, 150, 229, 29, 115, 184, 29, 115, 200, 145, 93, 185, 22, 114, 101, 240, 81, 178, 19, 116, 26]),
    ([1, 5, 6], [5, 3], &[38, 133, 117, 77, 159, 86, 141, 88, 189, 84, 110, 136, 163, 99, 64]),
    ([3, 32, 32], [5, 5], &[121, 130, 129, 134, 125, 132, 121, 134, 126, 120, 123, 133, 130, 123, 119, 137, 129, 124, 125, 120, 141, 149, 136, 129, 119, 119, 117, 123, 133, 138, 115, 122, 119, 125, 134, 128, 114, 119, 128, 149, 132, 122, 131, 131, 132, 133, 123, 136, 122, 135, 124, 118, 126, 128, 137, 126, 136, 128, 115, 130, 136, 145, 136, 122, 113, 132, 130, 125, 117, 130, 110, 112, 109, 121, 141]),
    ([1, 300, 200], [3, 3], &[128, 128, 128, 129, 128, 127, 129, 128, 128]),
];

#[test]
fn images_are_resized_as_pillow_does() {
    for (shape, [height, width], expected) in RECORDED {
        let resized = synthetic(shape).resized(height, width).unwrap();
        assert_eq!(resized.shape(), [shape[0], height, width]);
        assert_eq!(resized.to_8_bit(), expected, "{shape:?}");
    }
}

#[test]
fn an_image_of_the_size_asked_for_is_left_alone() {
    let image = Image::new([1, 1, 2], vec![0.1234, 1.0]).unwrap();
    assert_eq!(image.resized(1, 2).unwrap(), image);
}

#[test]
fn eight_bits_are_scaled_as_pipelines_do() {
    let image = Image::from_8_bit([1, 1, 3], &[0, 38, 255]).unwrap();
    // The second is what a float32 of 38/255 prints as in f64.
    assert_eq!(image.pixels(), [0.0, 0.149_019_613_862_037_66, 1.0]);
    assert_eq!(image.rounded_to_8_bit(), image);
    let image = Image::new([1, 1, 3], vec![0.001, 0.5, 0.999]).unwrap();
    assert_eq!(image.to_8_bit(), [0, 128, 255]);
}

#[test]
fn what_is_no_image_is_refused() {
    for (shape, pixels, expected) in [
        ([1, 2, 2], vec![0.5; 3], "the shape [1, 2, 2] needs 4 pixels, got 3"),
        ([1, 1, 2], vec![0.5, 1.5], "pixel 1 is 1.5: expected a number in [0, 1]; divide pixels of 0 to 255 by 255"),
        ([1, 1, 2], vec![-1e-9, 0.0], "pixel 0 is -0.000000001: expected"),
        ([1, 1, 1], vec![f64::NAN], "pixel 0 is NaN: expected"),
        ([0, 4, 4], vec![], "the shape [0, 4, 4] is empty"),
        ([usize::MAX, 2, 2], vec![], "has more than 67108864 values"),
    ] {
        let message = Image::new(shape, pixels).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let image = synthetic([1, 4, 4]);
    assert!(image.resized(0, 4).is_err() && image.resized(1 << 40, 1 << 40).is_err());
}

#[test]
fn text_that_is_no_image_is_refused() {
    for (text, expected) in [
        ("[]", "expected an image, {\"shape\": [C, H, W], \"pixels\": [...]}"),
        (r#"{"shape": [1, 2], "pixels": []}"#, "expected an image"),
        (r#"{"shape": [1, 1, 1], "pixels": [0.5], "label": 3}"#, "unknown field `label`"),
        (r#"{"shape": [1, 1, 1], "pixels": [1e999]}"#, "expected an image"),
        (r#"{"shape": [1, 1, 1], "pixels": [2]}"#, "pixel 0 is 2"),
        (r#"{"shape": [1, 1, -1], "pixels": [2]}"#, "expected an image"),
    ] {
        let message = Image::parse_json(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

/// A file of the `.npy` format.
fn npy(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
    let length = header.len() as u32;
    let length = if version == 1 { (length as u16).to_le_bytes().to_vec() } else { length.to_le_bytes().to_vec() };
    [b"\x93NUMPY", &[version, 0][..], &length, header.as_bytes(), values].concat()
}

#[test]
fn arrays_are_read_as_numpy_writes_them() {
    let header = |descr: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}{}\n", " ".repeat(20))
    };
    let read =
        |version, descr, shape, values: &[u8]| Image::parse_npy(&npy(version, &header(descr, shape), values)).unwrap();
    let image = read(1, "|u1", "(1, 2)", &[51, 255]);
    assert_eq!((image.shape(), image.pixels()), ([1, 1, 2], &[f64::from(0.2_f32), 1.0][..]));
    let floats: Vec<u8> = [0.25_f32, 0.1].iter().flat_map(|value| value.to_le_bytes()).collect();
    let image = read(2, "<f4", "(2, 1, 1)", &floats);
    assert_eq!((image.shape(), image.pixels()), ([2, 1, 1], &[0.25, f64::from(0.1_f32)][..]));
    let doubles: Vec<u8> = [0.25_f64, 0.1].iter().flat_map(|value| value.to_be_bytes()).collect();
    assert_eq!(read(3, ">f8", "(1,2,1)", &doubles).pixels(), [0.25, 0.1]);
}

#[test]
fn arrays_that_are_no_images_are_refused() {
    let dictionary = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}")
    };
    let good = dictionary("'|u1'", "False", "(1, 2)");
    let files: [(Vec<u8>, &str); 12] = [
        (b"PK".to_vec(), "this is no .npy file"),
        (npy(1, &good, &[1, 2])[..20].to_vec(), "the file ends inside its header"),
        (npy(1, &good, &[1, 2])[..7].to_vec(), "the file ends inside its header"),
        (npy(4, &good, &[1, 2]), "version 4 of the .npy format is not known"),
        (npy(1, &good, &[1, 2, 3]), "needs 2, got 3"),
        (npy(1, &dictionary("'<i8'", "False", "(1, 2)"), &[0; 16]), "an array of '<i8' is no image"),
        (npy(1, &dictionary("[('a', '<f4')]", "False", "(1, 2)"), &[0; 8]), "is no image"),
        (npy(1, &dictionary("'|u1'", "True", "(1, 2)"), &[0; 2]), "Fortran order"),
        (npy(1, &dictionary("'|u1'", "False", "(2,)"), &[0; 2]), "an array of shape (2,) is no image"),
        (npy(1, &dictionary("'|u1'", "False", "(99999999999, 99999999999)"), &[]), "more than"),
        (npy(1, "{'descr': '|u1'}", &[]), "the header has no 'fortran_order'"),
        (npy(1, &dictionary("'<f8'", "False", "(1, 1)"), &2.0_f64.to_le_bytes()), "pixel 0 is 2"),
    ];
    for (file, expected) in files {
        let message = Image::parse_npy(&file).unwrap_err().to_string();
        assert!(message.contains(expected), "{message} ({expected})");
    }
}

proptest! {
    #[test]
    fn written_images_read_back_as_the_same_floats(pixels in prop::collection::vec(0.0..=1.0_f64, 12)) {
        let image = Image::new([2, 2, 3], pixels).unwrap();
        prop_assert_eq!(&Image::parse_json(&image.to_json()).unwrap(), &image);
        prop_assert_eq!(&Image::parse_npy(&image.to_npy()).unwrap(), &image);
        prop_assert_eq!((image.to_npy().len() - 96) % 64, 0);
    }

    #[test]
    fn broken_arrays_are_no_panic(place in 0usize..140, byte: u8, cut in 0usize..180) {
        let mut bytes = synthetic([1, 2, 3]).to_npy();
        if let Some(found) = bytes.get_mut(place) {
            *found = byte;
        }
        bytes.truncate(cut);
        let _ = Image::parse_npy(&bytes);
    }
}
