use std::path::Path;

use serde::Deserialize;

use crate::image::Image;
use crate::{Error, text};

/// An image as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// `[channels, height, width]`.
    shape: [usize; 3],
    /// Flat: channel by channel, row by row.
    pixels: Vec<f64>,
}

impl Image {
    /// Reads `{"shape": [C, H, W], "pixels": [...]}`, pixels in `[0, 1]`.
    ///
    /// # Errors
    /// When the file cannot be read, is something else, or holds what is no image ([`Image::new`]).
    pub fn read_json(path: &Path) -> Result<Self, Error> {
        Self::parse_json(&text::read(path)?).map_err(|error| error.in_file(path))
    }

    /// The image that a JSON text holds.
    ///
    /// # Errors
    /// When the text is something else, or holds what is no image ([`Image::new`]).
    pub fn parse_json(text: &str) -> Result<Self, Error> {
        let fields: Fields = serde_json::from_str(text).map_err(|error| {
            Error::format(format!("expected an image, {{\"shape\": [C, H, W], \"pixels\": [...]}}: {error}"))
        })?;
        Self::new(fields.shape, fields.pixels)
    }

    /// The image as JSON whose decimals read back as the same floats.
    pub fn to_json(&self) -> String {
        let pixels: Vec<String> = self.pixels.iter().map(|pixel| format!("{pixel:?}")).collect();
        format!("{{\"shape\": {:?}, \"pixels\": [{}]}}\n", self.shape, pixels.join(", "))
    }
}
