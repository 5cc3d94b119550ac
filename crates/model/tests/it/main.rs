//! Data, training, formats and conversions through the public names.

mod convert;
mod data;
mod fine_tune;
mod formats;
mod support;
mod train;
