use super::proto;
use super::shape::n_elements;
use crate::Error;

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    /// All dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub data: Data,
}

/// The values of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// Floats of any width, with how far each may be from the real one (empty: they are exact).
    Float { values: Vec<f64>, error: Vec<f64> },
    /// 32- and 64-bit integers and truth values.
    Int(Vec<i64>),
}

/// The element types of the format, by number.
pub(crate) mod data_type {
    pub const FLOAT: i32 = 1;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    pub const BOOL: i32 = 9;
    pub const FLOAT16: i32 = 10;
    pub const DOUBLE: i32 = 11;
    pub const BFLOAT16: i32 = 16;
}

impl Tensor {
    /// Exact floats.
    pub fn floats(shape: Vec<usize>, values: Vec<f64>) -> Self {
        Self { shape, data: Data::Float { values, error: Vec::new() } }
    }

    /// Integers.
    pub fn ints(shape: Vec<usize>, values: Vec<i64>) -> Self {
        Self { shape, data: Data::Int(values) }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Float { values, .. } => values.len(),
            Data::Int(values) => values.len(),
        }
    }

    /// Decodes a constant of the file; its values are exact.
    ///
    /// # Errors
    /// When its type is not numeric, it lies in another file, or the data do not fill its shape.
    pub fn decode(tensor: &proto::Tensor) -> Result<Self, Error> {
        let error = |message: String| Error::format(format!("tensor '{}': {message}", tensor.name));
        if tensor.data_location != 0 || !tensor.external_data.is_empty() {
            return Err(error("its data lie in another file; save the model with all weights inside".into()));
        }
        if tensor.segment.is_some() {
            return Err(error("it is stored in segments, which is not supported".into()));
        }
        let shape: Vec<usize> = tensor
            .dims
            .iter()
            .map(|&n| usize::try_from(n))
            .collect::<Result<_, _>>()
            .map_err(|_| error(format!("it has the shape {:?}", tensor.dims)))?;
        let has_typed = !(tensor.float_data.is_empty()
            && tensor.int32_data.is_empty()
            && tensor.int64_data.is_empty()
            && tensor.double_data.is_empty()
            && tensor.uint64_data.is_empty());
        let data = match &tensor.raw_data {
            Some(raw) if has_typed && !raw.is_empty() => return Err(error("it holds its data twice".into())),
            Some(raw) if !has_typed => raw_values(raw, tensor.data_type),
            _ => typed_values(tensor),
        };
        let data = data.map_err(error)?;
        let tensor = Self { shape, data };
        if n_elements(&tensor.shape) != Some(tensor.len()) {
            return Err(error(format!("the shape {:?} does not fit its {} values", tensor.shape, tensor.len())));
        }
        Ok(tensor)
    }

    /// The tensor whose element `k` is this one's `sources[k]`, or `fill` where there is none.
    pub fn select(&self, shape: Vec<usize>, sources: &[Option<u32>], fill: Fill) -> Self {
        fn pick<T: Copy>(values: &[T], sources: &[Option<u32>], fill: T) -> Vec<T> {
            sources.iter().map(|source| source.map_or(fill, |source| values[source as usize])).collect()
        }
        let data = match &self.data {
            Data::Float { values, error } => Data::Float {
                values: pick(values, sources, fill.float),
                error: if error.is_empty() { Vec::new() } else { pick(error, sources, 0.0) },
            },
            Data::Int(values) => Data::Int(pick(values, sources, fill.int)),
        };
        Self { shape, data }
    }
}

/// What fills the places that a selection leaves open.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fill {
    pub float: f64,
    pub int: i64,
}

fn raw_values(raw: &[u8], element: i32) -> Result<Data, String> {
    use data_type as t;
    Ok(match element {
        t::FLOAT => floats(numbers(raw, |b| f64::from(f32::from_le_bytes(b)))?),
        t::DOUBLE => floats(numbers(raw, f64::from_le_bytes)?),
        t::FLOAT16 => floats(numbers(raw, |b| half_to_f64(u16::from_le_bytes(b)))?),
        t::BFLOAT16 => floats(numbers(raw, |b| bfloat_to_f64(u16::from_le_bytes(b)))?),
        t::BOOL => Data::Int(numbers(raw, |[b]: [u8; 1]| i64::from(b != 0))?),
        t::INT32 => Data::Int(numbers(raw, |b| i64::from(i32::from_le_bytes(b)))?),
        t::INT64 => Data::Int(numbers(raw, i64::from_le_bytes)?),
        other => return Err(unknown_type(other)),
    })
}

fn typed_values(tensor: &proto::Tensor) -> Result<Data, String> {
    use data_type as t;
    let halves = |decode: fn(u16) -> f64| -> Result<Data, String> {
        let bits = tensor.int32_data.iter().map(|&bits| u16::try_from(bits).map(decode));
        Ok(floats(bits.collect::<Result<_, _>>().map_err(|_| "a 16-bit float of more than 16 bits".to_string())?))
    };
    match tensor.data_type {
        t::FLOAT => Ok(floats(tensor.float_data.iter().map(|&value| f64::from(value)).collect())),
        t::DOUBLE => Ok(floats(tensor.double_data.clone())),
        t::FLOAT16 => halves(half_to_f64),
        t::BFLOAT16 => halves(bfloat_to_f64),
        t::BOOL => Ok(Data::Int(tensor.int32_data.iter().map(|&value| i64::from(value != 0)).collect())),
        t::INT32 => Ok(Data::Int(tensor.int32_data.iter().map(|&value| i64::from(value)).collect())),
        t::INT64 => Ok(Data::Int(tensor.int64_data.clone())),
        other => Err(unknown_type(other)),
    }
}

fn floats(values: Vec<f64>) -> Data {
    Data::Float { values, error: Vec::new() }
}

fn numbers<T, const N: usize>(raw: &[u8], decode: impl Fn([u8; N]) -> T) -> Result<Vec<T>, String> {
    let (chunks, rest) = raw.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(format!("{} bytes of data, which is not a multiple of {N}", raw.len()));
    }
    Ok(chunks.iter().map(|&bytes| decode(bytes)).collect())
}

fn unknown_type(number: i32) -> String {
    let name = match number {
        0 => "no element type",
        // Their arithmetic wraps at other places than the folding of constants here does.
        2..=5 | 12 | 13 => "unsigned or short integers",
        8 => "strings",
        14 | 15 => "complex numbers",
        17..=20 => "8-bit floats",
        21 | 22 => "4-bit integers",
        _ => return format!("the unknown element type {number}"),
    };
    format!("it holds {name}, which is not supported")
}

/// IEEE 754 binary16: sign, 5 bits of exponent (bias 15), 10 bits of fraction. Exact.
fn half_to_f64(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    let magnitude = match bits >> 10 & 0x1f {
        0 => fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction) * 2f64.powi(i32::from(exponent) - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The upper half of an f32. Exact.
fn bfloat_to_f64(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_are_exact() {
        assert_eq!(half_to_f64(0x3c00), 1.0);
        assert_eq!(half_to_f64(0xc000), -2.0);
        assert_eq!(half_to_f64(0x7bff), 65504.0);
        assert_eq!(half_to_f64(0x0001), 2f64.powi(-24));
        assert_eq!(half_to_f64(0x3555), 0.333_251_953_125);
        assert_eq!(half_to_f64(0xfc00), f64::NEG_INFINITY);
        assert!(half_to_f64(0x7e00).is_nan());
        assert_eq!(bfloat_to_f64(0x3fc0), 1.5);
    }

    #[test]
    fn raw_and_typed_data_agree() {
        let raw = proto::Tensor {
            dims: vec![2],
            data_type: data_type::FLOAT,
            raw_data: Some([1.5f32.to_le_bytes(), (-0.1f32).to_le_bytes()].concat()),
            ..Default::default()
        };
        let typed = proto::Tensor { raw_data: None, float_data: vec![1.5, -0.1], ..raw.clone() };
        assert_eq!(Tensor::decode(&raw).unwrap(), Tensor::decode(&typed).unwrap());
        assert_eq!(Tensor::decode(&raw).unwrap(), Tensor::floats(vec![2], vec![1.5, f64::from(-0.1f32)]));
    }

    #[test]
    fn a_shape_that_the_data_do_not_fill_is_refused() {
        let tensor = proto::Tensor {
            name: "w".into(),
            dims: vec![i64::MAX, i64::MAX],
            data_type: data_type::FLOAT,
            ..Default::default()
        };
        let message = Tensor::decode(&tensor).unwrap_err().to_string();
        assert!(message.contains("tensor 'w'") && message.contains("does not fit its 0 values"), "{message}");
        let negative = proto::Tensor { dims: vec![-1], ..tensor.clone() };
        assert!(Tensor::decode(&negative).is_err());
        let external = proto::Tensor { data_location: 1, ..tensor };
        assert!(Tensor::decode(&external).unwrap_err().to_string().contains("another file"));
    }
}
