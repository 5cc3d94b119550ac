use super::super::operator::Operator;
use crate::{Error, MaxPool};

/// The largest size, stride, dilation or padding; keeps all index arithmetic far from overflow.
const MAX_EXTENT: i64 = 1 << 28;

/// The windows of a convolution or pooling over an image; a one-dimensional signal is an image of height 1.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Padding above and to the left.
    pub begin: [usize; 2],
    /// Padding below and to the right.
    pub end: [usize; 2],
    n_axes: usize,
}

/// The attributes that place windows, one- or two-dimensional, before padding is resolved.
#[derive(Debug)]
pub(super) struct WindowAttributes {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub begin: [usize; 2],
    pub end: [usize; 2],
    pub auto_pad: AutoPad,
}

/// How padding is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum AutoPad {
    /// As the attribute `pads` says.
    Explicit,
    /// None.
    Valid,
    /// So that the output is `⌈input / stride⌉`; an odd pixel goes to the end.
    SameUpper,
    /// The same with an odd pixel at the beginning.
    SameLower,
}

impl WindowAttributes {
    /// Reads the attributes for a kernel over `n_axes` (1 or 2) axes.
    pub fn read(op: &Operator, kernel: &[usize]) -> Result<Self, Error> {
        let n_axes = kernel.len();
        let differs = |declared: &[i64]| {
            declared.len() != n_axes || declared.iter().zip(kernel).any(|(&d, &k)| usize::try_from(d) != Ok(k))
        };
        if let Some(declared) = op.ints("kernel_shape")?.filter(|declared| differs(declared)) {
            return Err(op.mismatch(format!("kernel_shape {kernel:?}"), format!("{declared:?}")));
        }
        let per_axis = |name: &str, default: i64| -> Result<Vec<usize>, Error> {
            let given = op.ints(name)?.map_or_else(|| vec![default; n_axes], <[i64]>::to_vec);
            let values: Vec<usize> = given.iter().filter(|&&n| n > 0 && n <= MAX_EXTENT).map(|&n| n as usize).collect();
            if values.len() != n_axes || given.len() != n_axes {
                return Err(op.mismatch(format!("{n_axes} positive numbers as {name}"), format!("{given:?}")));
            }
            Ok(values)
        };
        let (stride, dilation) = (per_axis("strides", 1)?, per_axis("dilations", 1)?);
        let pads = op.ints("pads")?.map_or_else(|| vec![0; 2 * n_axes], <[i64]>::to_vec);
        if pads.len() != 2 * n_axes || pads.iter().any(|&n| !(0..=MAX_EXTENT).contains(&n)) {
            return Err(op.mismatch(format!("{} numbers from 0 as pads", 2 * n_axes), format!("{pads:?}")));
        }
        if kernel.iter().any(|&k| k == 0 || k as i64 > MAX_EXTENT) {
            return Err(op.mismatch("a kernel of positive size", format!("{kernel:?}")));
        }
        let auto_pad = match op.text("auto_pad", "NOTSET")? {
            "NOTSET" | "" => AutoPad::Explicit,
            "VALID" => AutoPad::Valid,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            other => return Err(op.unsupported(&format!("with auto_pad = {other}"))),
        };
        if auto_pad != AutoPad::Explicit && pads.iter().any(|&n| n != 0) {
            return Err(op.unsupported("with both pads and auto_pad"));
        }
        let is_same = matches!(auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
        if is_same && dilation.iter().any(|&n| n > 1) {
            // The format counts the dilation in the padding; onnxruntime does not, or refuses.
            return Err(op.unsupported("with both dilations and auto_pad = SAME; export it with explicit pads"));
        }
        let pads: Vec<usize> = pads.iter().map(|&n| n as usize).collect();
        Ok(Self {
            kernel: image(kernel, 1),
            stride: image(&stride, 1),
            dilation: image(&dilation, 1),
            begin: image(&pads[..n_axes], 0),
            end: image(&pads[n_axes..], 0),
            auto_pad,
        })
    }

    /// How far apart the first and last pixel of a window are, plus one.
    pub fn extent(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }
}

impl Window {
    /// Places windows over the spatial axes of an input; the attributes `kernel_shape`, `strides`, `dilations`, `pads` and
    /// `auto_pad` are read from the operator.
    pub fn new(op: &Operator, spatial: &[usize], kernel: &[usize], is_ceil: bool) -> Result<Self, Error> {
        let attributes = WindowAttributes::read(op, kernel)?;
        let input = image(spatial, 1);
        let (mut begin, mut end, mut output) = (attributes.begin, attributes.end, [0; 2]);
        for axis in 0..2 {
            let (n, stride, extent) = (input[axis], attributes.stride[axis], attributes.extent(axis));
            if attributes.auto_pad == AutoPad::SameUpper || attributes.auto_pad == AutoPad::SameLower {
                output[axis] = n.div_ceil(stride);
                let total = ((output[axis] - 1) * stride + extent).saturating_sub(n);
                (begin[axis], end[axis]) = (total / 2, total - total / 2);
                if attributes.auto_pad == AutoPad::SameLower {
                    std::mem::swap(&mut begin[axis], &mut end[axis]);
                }
                continue;
            }
            let room = (n + begin[axis] + end[axis]).checked_sub(extent).ok_or_else(|| {
                op.mismatch(format!("windows of {extent} pixels that fit into the image"), format!("{n} pixels"))
            })?;
            output[axis] = if is_ceil { room.div_ceil(stride) } else { room / stride } + 1;
            // A window that would start beyond the image is left out.
            if is_ceil && (output[axis] - 1) * stride >= n + begin[axis] {
                output[axis] -= 1;
            }
        }
        let WindowAttributes { kernel, stride, dilation, .. } = attributes;
        Ok(Self { input, output, kernel, stride, dilation, begin, end, n_axes: spatial.len() })
    }

    /// The same windows as a pooling of so many channels.
    pub fn pooling(&self, channels: usize) -> MaxPool {
        MaxPool {
            channels,
            in_height: self.input[0],
            in_width: self.input[1],
            out_height: self.output[0],
            out_width: self.output[1],
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pad: self.begin,
        }
    }

    /// The shape of the result, batch dimension included.
    pub fn result_shape(&self, channels: usize) -> Vec<usize> {
        let mut shape = vec![1, channels];
        shape.extend(&self.output[2 - self.n_axes..]);
        shape
    }

    /// Whether the last window along some axis reaches past the padding.
    pub fn overhangs(&self) -> bool {
        (0..2).any(|axis| {
            let extent = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            (self.output[axis] - 1) * self.stride[axis] + extent > self.begin[axis] + self.input[axis] + self.end[axis]
        })
    }
}

/// The channels and spatial axes of an image or signal in a batch of one.
pub(super) fn channels<'a>(op: &Operator, shape: &'a [usize]) -> Result<(usize, &'a [usize]), Error> {
    match shape {
        [1, channels, spatial @ ..] if matches!(spatial.len(), 1 | 2) => {
            if spatial.iter().any(|&n| n as i64 > MAX_EXTENT) {
                return Err(op.mismatch("an image of sane size", format!("shape {shape:?}")));
            }
            Ok((*channels, spatial))
        }
        [_, _, spatial @ ..] if spatial.len() > 2 => Err(op.unsupported("in three or more dimensions")),
        [_, _, _, ..] => Err(op.unsupported("on a batch of more than one")),
        _ => Err(op.mismatch("a batch of channels of pixels", format!("shape {shape:?}"))),
    }
}

/// One or two numbers as a pair per image axis, the missing vertical one being the default.
fn image(per_axis: &[usize], default: usize) -> [usize; 2] {
    match *per_axis {
        [width] => [default, width],
        [height, width] => [height, width],
        _ => [default; 2],
    }
}
