//! `NNet` files: fully connected `ReLU` networks as text, the format of the ACAS Xu networks.
//!
//! After comment lines (`//`), lines of comma-separated numbers hold: number of layers, inputs, outputs and the largest layer;
//! the layer sizes, inputs first; a flag without meaning; least and largest inputs; the mean of each input and of the outputs;
//! their ranges; then for each layer one line per row of its weight, and one line per bias.
//!
//! The network takes inputs in their own units and gives outputs in theirs: `(x − mean) / range` comes first, and
//! `range · y + mean` last, each as an affine node (left out where it changes nothing).
//! Some tools clip inputs to the least and largest values of the file before anything else. This does not: the property says
//! where inputs lie, and those two lines are not looked at.
//!
//! The network meant is the one with the decimals as they are written: where one is not a float, or the normalisation rounds,
//! the node's [`WeightError`] says by how much.

use std::path::Path;
use std::sync::Arc;

use crate::decimal::{Decimal, quoted};
use crate::{Activation, Affine, Dense, Error, LinearMap, Network, Op, Sparse, WeightError, text};

/// Most layers that a file may announce.
const MAX_LAYERS: usize = 100_000;
/// Twice the relative error of rounding to nearest.
const UNIT: f64 = f64::EPSILON;
/// The least positive float, twice the absolute error of rounding to nearest where the relative one does not hold.
const LEAST: f64 = f64::from_bits(1);

/// A number of the file, rounded to nearest.
#[derive(Debug, Clone, Copy)]
struct Number {
    value: f64,
    is_exact: bool,
}

/// The lines that are neither blank nor comments.
struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
}

/// Reads a network from a file, which may be compressed by gzip.
///
/// # Errors
/// When the file cannot be read, or for the reasons of [`parse`]; the error names the file.
pub fn read(path: &Path) -> Result<Network, Error> {
    parse(&text::read(path)?).map_err(|error| error.in_file(path))
}

/// Reads a network from its text.
///
/// # Errors
/// When a line is missing, has the wrong count of numbers or holds something else, with the line.
pub fn parse(text: &str) -> Result<Network, Error> {
    let mut lines = Lines { lines: text.lines().enumerate() };
    let (line, header) = lines.counts("the header (layers, inputs, outputs, largest layer)", 4)?;
    let (n_layers, n_inputs, n_outputs) = (header[0], header[1], header[2]);
    if n_layers == 0 || n_layers > MAX_LAYERS || n_inputs == 0 || n_outputs == 0 {
        let message = format!("{n_layers} layers from {n_inputs} inputs to {n_outputs} outputs are no network");
        return Err(Error::format(message).at_line(line));
    }
    let (line, sizes) = lines.counts("the layer sizes", n_layers + 1)?;
    if sizes[0] != n_inputs || sizes[n_layers] != n_outputs || sizes.contains(&0) {
        let message = format!("the layer sizes {sizes:?} do not lead from {n_inputs} inputs to {n_outputs} outputs");
        return Err(Error::format(message).at_line(line));
    }
    for ignored in ["the flag", "the least inputs", "the largest inputs"] {
        lines.next(ignored)?;
    }
    let (_, means) = lines.numbers("the means of the inputs and of the outputs", n_inputs.saturating_add(1))?;
    let (line, ranges) = lines.numbers("the ranges of the inputs and of the outputs", n_inputs.saturating_add(1))?;
    if ranges.iter().any(|range| range.value < f64::MIN_POSITIVE || !(1.0 / range.value).is_normal()) {
        return Err(Error::format("a range is not a positive number of ordinary size").at_line(line));
    }

    let mut builder = Network::builder(&[n_inputs])?;
    let mut last = crate::NodeId(0);
    if let Some(affine) = normalisation(&means[..n_inputs], &ranges[..n_inputs]) {
        last = builder.push("normalise", Op::Affine(Arc::new(affine)), &[last], &[n_inputs])?;
    }
    for (layer, size) in sizes.windows(2).enumerate() {
        let affine = lines.layer(size[0], size[1])?;
        last = builder.push(format!("layer {}", layer + 1), Op::Affine(Arc::new(affine)), &[last], &size[1..])?;
        if layer + 1 < n_layers {
            let relu = Op::Activation(Activation::Relu);
            last = builder.push(format!("relu {}", layer + 1), relu, &[last], &size[1..])?;
        }
    }
    if let Some((line, _)) = lines.remaining() {
        return Err(Error::format("the network ends before this line").at_line(line));
    }
    if let Some(affine) = denormalisation(means[n_inputs], ranges[n_inputs], n_outputs) {
        last = builder.push("denormalise", Op::Affine(Arc::new(affine)), &[last], &[n_outputs])?;
    }
    builder.build(last)
}

/// `(x − mean) / range`, unless that is the identity.
fn normalisation(means: &[Number], ranges: &[Number]) -> Option<Affine> {
    if is_identity(means, ranges) {
        return None;
    }
    let scales: Vec<f64> = ranges.iter().map(|range| 1.0 / range.value).collect();
    let mut affine = diagonal(scales, Vec::new(), WeightError::default());
    for (mean, range) in means.iter().zip(ranges) {
        let (scale, bias) = (1.0 / range.value, 0.0 - mean.value / range.value);
        // The remainders are exact: everything is of ordinary size.
        let is_scale_exact = range.is_exact && scale.mul_add(range.value, -1.0) == 0.0;
        let is_ordinary = mean.value == 0.0 || mean.value.abs() > 1e-280 && bias.abs() > 1e-280;
        let is_bias_exact =
            mean.is_exact && range.is_exact && is_ordinary && bias.mul_add(range.value, mean.value) == 0.0;
        // Rounding mean, range and quotient errs by 1.5 UNIT of the quotient; a subnormal mean by less than LEAST, scaled.
        let bias_error = if is_bias_exact { 0.0 } else { 4.0 * UNIT * bias.abs() + 4.0 * LEAST * (1.0 + scale) };
        affine.error.relative = affine.error.relative.max(if is_scale_exact { 0.0 } else { 2.0 * UNIT });
        affine.error.bias.push(bias_error);
        affine.bias.push(bias);
    }
    Some(affine)
}

/// `range · y + mean` for each output, unless that is the identity.
fn denormalisation(mean: Number, range: Number, n_outputs: usize) -> Option<Affine> {
    if is_identity(&[mean], &[range]) {
        return None;
    }
    let error = rounding_error(&[range], &vec![mean; n_outputs]);
    Some(diagonal(vec![range.value; n_outputs], vec![mean.value; n_outputs], error))
}

fn is_identity(means: &[Number], ranges: &[Number]) -> bool {
    let are_exactly = |numbers: &[Number], value| numbers.iter().all(|n| n.is_exact && n.value == value);
    are_exactly(means, 0.0) && are_exactly(ranges, 1.0)
}

fn diagonal(values: Vec<f64>, bias: Vec<f64>, error: WeightError) -> Affine {
    let n = values.len() as u32;
    let map = Sparse { n_in: values.len(), offsets: (0..=n).collect(), columns: (0..n).collect(), values };
    Affine { map: LinearMap::Sparse(map), bias, error }
}

/// How far decimals may be from the floats nearest to them.
fn rounding_error(weights: &[Number], biases: &[Number]) -> WeightError {
    let mut inexact = weights.iter().filter(|weight| !weight.is_exact).peekable();
    let relative = if inexact.peek().is_some() { UNIT } else { 0.0 };
    let is_subnormal = inexact.any(|weight| weight.value.abs() < f64::MIN_POSITIVE);
    let absolute = if is_subnormal { vec![LEAST; biases.len()] } else { Vec::new() };
    let bias_error = |bias: &Number| if bias.is_exact { 0.0 } else { (UNIT * bias.value.abs()).max(LEAST) };
    WeightError { relative, absolute, bias: biases.iter().map(bias_error).collect() }
}

impl<'a> Lines<'a> {
    /// The next line with its number, unless none is left.
    fn remaining(&mut self) -> Option<(usize, &'a str)> {
        let mut lines = self.lines.by_ref().map(|(i, line)| (i + 1, line.trim()));
        lines.find(|(_, line)| !line.is_empty() && !line.starts_with("//"))
    }

    fn next(&mut self, what: &str) -> Result<(usize, &'a str), Error> {
        self.remaining().ok_or_else(|| Error::format(format!("the file ends where {what} should stand")))
    }

    /// The cells of the next line; a comma may follow the last.
    fn cells(&mut self, what: &str, expected: usize) -> Result<(usize, Vec<&'a str>), Error> {
        let (line, text) = self.next(what)?;
        let cells: Vec<&str> = text.strip_suffix(',').unwrap_or(text).split(',').map(str::trim).collect();
        if cells.len() != expected {
            let message = format!("expected {what}: {expected} numbers, got {}", cells.len());
            return Err(Error::format(message).at_line(line));
        }
        Ok((line, cells))
    }

    fn counts(&mut self, what: &str, expected: usize) -> Result<(usize, Vec<usize>), Error> {
        let (line, cells) = self.cells(what, expected)?;
        let count = |cell: &&str| {
            cell.parse().map_err(|_| Error::format(format!("{} is not a count", quoted(cell))).at_line(line))
        };
        Ok((line, cells.iter().map(count).collect::<Result<_, _>>()?))
    }

    fn numbers(&mut self, what: &str, expected: usize) -> Result<(usize, Vec<Number>), Error> {
        let (line, cells) = self.cells(what, expected)?;
        let number = |cell: &&str| {
            let nearest = Decimal::parse(cell)?.nearest();
            let (value, is_exact) = nearest.ok_or_else(|| {
                Error::format(format!("the number {} lies beyond the range of 64-bit floats", quoted(cell)))
            })?;
            Ok(Number { value, is_exact })
        };
        let numbers: Result<_, Error> = cells.iter().map(number).collect();
        Ok((line, numbers.map_err(|error| error.at_line(line))?))
    }

    fn layer(&mut self, n_in: usize, n_out: usize) -> Result<Affine, Error> {
        let mut weights = Vec::new();
        for _ in 0..n_out {
            weights.append(&mut self.numbers("a row of a weight", n_in)?.1);
        }
        let mut biases = Vec::new();
        for _ in 0..n_out {
            biases.append(&mut self.numbers("a bias", 1)?.1);
        }
        let error = rounding_error(&weights, &biases);
        let values = |numbers: Vec<Number>| numbers.into_iter().map(|number| number.value).collect();
        let map = LinearMap::Dense(Dense { n_out, n_in, weight: values(weights) });
        Ok(Affine { map, bias: values(biases), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In normalised units `y = 2·relu(0.5·x_0 − x_1 + 1) − 3`; one hidden neuron.
    const SMALL: &str = "// a comment\n2,2,1,2,\n2,1,1,\n0,\n0,0,\n1,1,\n1,0,4,\n2,1,8,\n0.5,-1,\n1,\n2,\n-3,\n";

    #[test]
    fn a_small_network_computes_what_its_text_says() {
        let network = parse(SMALL).unwrap();
        // x = (5, 0.5) normalises to (2, 0.5); the hidden neuron is 1 − 0.5 + 1 = 1.5, the output 0, in its units 4.
        assert_eq!(network.evaluate(&[5.0, 0.5]).unwrap(), [4.0]);
        assert_eq!(network.evaluate(&[1.0, 3.0]).unwrap(), [8.0 * -3.0 + 4.0]);
        assert_eq!(network.nodes().len(), 6);
    }

    #[test]
    fn inputs_outside_the_stated_range_are_not_clipped() {
        let network = parse(SMALL).unwrap();
        assert_eq!(network.evaluate(&[101.0, 0.0]).unwrap(), [8.0 * (2.0 * 26.0 - 3.0) + 4.0]);
    }

    #[test]
    fn exact_numbers_have_no_error() {
        for node in parse(SMALL).unwrap().nodes() {
            if let Op::Affine(affine) = &node.op {
                assert_eq!(affine.error.relative, 0.0, "{}", node.name);
                assert!(affine.error.absolute.is_empty() && affine.error.bias.iter().all(|&e| e == 0.0));
            }
        }
    }

    #[test]
    fn rounded_numbers_have_an_error_that_covers_the_rounding() {
        let text = SMALL.replace("2,1,8,", "3,0.1,8,").replace("1,0,4,", "1,0.1,4.1").replace("0.5,-1", "0.1,1e-400");
        let network = parse(&text).unwrap();
        let affine = |name: &str| match &network.nodes().iter().find(|node| node.name == name).unwrap().op {
            Op::Affine(affine) => Arc::clone(affine),
            _ => unreachable!(),
        };
        let normalise = affine("normalise");
        assert!(normalise.error.relative >= f64::EPSILON);
        // −1/3 rounds by less than this, and 0.1/0.1 is 1 however both are rounded.
        assert!(normalise.error.bias.iter().all(|&e| e > 1e-17 && e < 1e-14));
        let first = affine("layer 1");
        assert_eq!((first.error.relative, first.error.absolute.as_slice()), (UNIT, [LEAST].as_slice()));
        let denormalise = affine("denormalise");
        assert_eq!((denormalise.error.relative, denormalise.error.bias.len()), (0.0, 1));
        assert!(denormalise.error.bias[0] > 0.0);
    }

    #[test]
    fn a_trivial_normalisation_leaves_no_node() {
        let network = parse("1,1,1,1\n1,1\n0\n0\n1\n0,0\n1,1\n2\n3\n").unwrap();
        assert_eq!(network.nodes().len(), 2);
        assert_eq!(network.evaluate(&[5.0]).unwrap(), [13.0]);
    }

    #[test]
    fn errors_name_their_line() {
        let message = |from: &str, to: &str| parse(&SMALL.replacen(from, to, 1)).unwrap_err().to_string();
        assert_eq!(message("0.5,-1,", "0.5,"), "line 9: expected a row of a weight: 2 numbers, got 1");
        assert_eq!(message("0.5,-1,", "0.5,x,"), "line 9: 'x' is not a decimal number");
        assert_eq!(
            message("0.5,-1,", "0.5,1e400,"),
            "line 9: the number '1e400' lies beyond the range of 64-bit floats"
        );
        assert_eq!(message("2,1,8", "2,0,8"), "line 8: a range is not a positive number of ordinary size");
        assert_eq!(message("-3,\n", ""), "the file ends where a bias should stand");
        assert_eq!(message("-3,\n", "-3,\n\n5"), "line 14: the network ends before this line");
        assert_eq!(message("2,2,1,2", "2,-2,1,2"), "line 2: '-2' is not a count");
        assert_eq!(message("2,2,1,2", "0,2,1,2"), "line 2: 0 layers from 2 inputs to 1 outputs are no network");
        assert_eq!(
            message("2,1,1,", "2,1,3"),
            "line 3: the layer sizes [2, 1, 3] do not lead from 2 inputs to 1 outputs"
        );
        let empty = parse("// nothing").unwrap_err().to_string();
        assert_eq!(empty, "the file ends where the header (layers, inputs, outputs, largest layer) should stand");
    }
}
