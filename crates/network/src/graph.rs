use std::fmt;

use crate::{Error, ErrorKind, LinearMap, Op};

/// A node's place in its network; operands come before the nodes that use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One operation and where its operands come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name in the file it came from (for messages).
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its operands, all earlier in the list.
    pub inputs: Vec<NodeId>,
    /// Its shape without the batch dimension; the product is its length.
    pub shape: Vec<usize>,
}

/// An immutable directed acyclic graph with one input (node 0) and one output (the last node).
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    nodes: Vec<Node>,
}

/// Builds a [`Network`], checking each node as it comes.
#[derive(Debug, Clone)]
pub struct NetworkBuilder {
    nodes: Vec<Node>,
}

impl Node {
    /// Multiply-adds of one evaluation.
    pub fn macs(&self) -> u64 {
        let Op::Affine(affine) = &self.op else { return 0 };
        let n = match &affine.map {
            LinearMap::Dense(dense) => dense.weight.len(),
            LinearMap::Conv(conv) => conv.weight.len() * conv.out_height * conv.out_width,
            LinearMap::Sparse(sparse) => sparse.values.len(),
        };
        n as u64
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the node has no values; never true in a [`Network`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Network {
    /// Starts a network whose input has this shape (no batch dimension).
    ///
    /// # Errors
    /// When the shape has no elements.
    pub fn builder(input_shape: &[usize]) -> Result<NetworkBuilder, Error> {
        if input_shape.iter().product::<usize>() == 0 {
            return Err(Error::format(format!("the input has shape {input_shape:?}: it holds no values")));
        }
        let input = Node { name: "input".into(), op: Op::Input, inputs: Vec::new(), shape: input_shape.to_vec() };
        Ok(NetworkBuilder { nodes: vec![input] })
    }

    /// The nodes in an order in which operands come first; the first is the input, the last the output.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The output node.
    pub fn output(&self) -> NodeId {
        NodeId(self.nodes.len() - 1)
    }

    /// Number of input values.
    pub fn n_inputs(&self) -> usize {
        self.nodes[0].len()
    }

    /// Number of output values.
    pub fn n_outputs(&self) -> usize {
        self.node(self.output()).len()
    }

    /// Multiply-adds of one evaluation.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(Node::macs).sum()
    }

    /// A builder that continues this network: its nodes keep their ids, the last one added becomes the output.
    pub fn to_builder(&self) -> NetworkBuilder {
        NetworkBuilder { nodes: self.nodes.clone() }
    }
}

impl NetworkBuilder {
    /// Appends a node after checking its operands, sizes and constants.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] when sizes do not fit, [`ErrorKind::NotFinite`] when a constant is NaN or infinite.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[NodeId],
        shape: &[usize],
    ) -> Result<NodeId, Error> {
        let node = Node { name: name.into(), op, inputs: inputs.to_vec(), shape: shape.to_vec() };
        self.check(&node)?;
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// The node that was pushed under this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The finished network, whose output is `output`; nodes that it does not need are dropped.
    ///
    /// # Errors
    /// When the output does not exist, or does not depend on the input.
    pub fn build(self, output: NodeId) -> Result<Network, Error> {
        if output.0 >= self.nodes.len() {
            return Err(Error::format("the output is not a node of the network"));
        }
        let mut is_needed = vec![false; self.nodes.len()];
        is_needed[output.0] = true;
        for id in (0..self.nodes.len()).rev() {
            if is_needed[id] {
                for input in &self.nodes[id].inputs {
                    is_needed[input.0] = true;
                }
            }
        }
        if !is_needed[0] {
            return Err(Error::format("the output does not depend on the input"));
        }
        let mut place = vec![NodeId(0); self.nodes.len()];
        let mut nodes = Vec::new();
        for (id, mut node) in self.nodes.into_iter().enumerate().take(output.0 + 1) {
            if is_needed[id] {
                for input in &mut node.inputs {
                    *input = place[input.0];
                }
                place[id] = NodeId(nodes.len());
                nodes.push(node);
            }
        }
        Ok(Network { nodes })
    }

    fn check(&self, node: &Node) -> Result<(), Error> {
        let shape_error = |expected: String, got: String| -> Result<(), Error> {
            Err(ErrorKind::Shape { node: node.name.clone(), expected, got }.into())
        };
        if node.inputs.iter().any(|input| input.0 >= self.nodes.len()) {
            return shape_error("operands that come before it".into(), format!("{:?}", node.inputs));
        }
        let lengths: Vec<usize> = node.inputs.iter().map(|&input| self.nodes[input.0].len()).collect();
        let one_operand = |n_in: usize, n_out: usize| -> Result<(), Error> {
            if lengths != [n_in] {
                return shape_error(format!("one operand of {n_in} values"), format!("operands of {lengths:?} values"));
            }
            if node.len() != n_out || n_out == 0 {
                return shape_error(
                    format!("an output of {n_out} values, at least one"),
                    format!("shape {:?}", node.shape),
                );
            }
            Ok(())
        };
        match &node.op {
            Op::Input => shape_error("a single input, the first node".into(), "another".into()),
            Op::Affine(affine) => {
                one_operand(affine.n_in(), affine.n_out())?;
                if let Some((expected, got)) = affine.map.mismatch(affine.n_out()) {
                    return shape_error(expected, got);
                }
                affine.check_finite(&node.name)
            }
            Op::Add => {
                if lengths.len() < 2 || lengths.iter().any(|&length| length != node.len()) {
                    let expected = format!("two or more operands of {} values", node.len());
                    return shape_error(expected, format!("operands of {lengths:?} values"));
                }
                Ok(())
            }
            Op::Activation(activation) => {
                one_operand(node.len(), node.len())?;
                activation.check(node)
            }
            Op::MaxPool(pool) => {
                one_operand(pool.n_in(), pool.n_out())?;
                if (0..pool.n_out()).any(|o| pool.window(o).next().is_none()) {
                    return shape_error("windows that touch the image".into(), "a window of padding alone".into());
                }
                Ok(())
            }
        }
    }
}

impl LinearMap {
    /// What is wrong with the sizes of the coefficients, as (expected, got).
    fn mismatch(&self, n_out: usize) -> Option<(String, String)> {
        match self {
            Self::Dense(dense) => (dense.weight.len() != dense.n_out * dense.n_in || dense.n_out != n_out).then(|| {
                let expected = format!("a weight of {} × {} and {n_out} biases", dense.n_out, dense.n_in);
                (expected, format!("{} values", dense.weight.len()))
            }),
            Self::Conv(conv) => conv.mismatch(n_out),
            Self::Sparse(sparse) => {
                let fits = sparse.offsets.len() == n_out + 1
                    && sparse.offsets[0] == 0
                    && sparse.offsets.windows(2).all(|pair| pair[0] <= pair[1])
                    && sparse.offsets[n_out] as usize == sparse.values.len()
                    && sparse.columns.len() == sparse.values.len()
                    && (0..n_out).all(|k| {
                        let row = &sparse.columns[sparse.offsets[k] as usize..sparse.offsets[k + 1] as usize];
                        row.windows(2).all(|pair| pair[0] < pair[1])
                            && row.last().is_none_or(|&column| (column as usize) < sparse.n_in)
                    });
                (!fits).then(|| (format!("{n_out} compressed rows over {} columns", sparse.n_in), "others".into()))
            }
        }
    }

    /// The stored coefficients.
    pub fn coefficients(&self) -> &[f64] {
        match self {
            Self::Dense(dense) => &dense.weight,
            Self::Conv(conv) => &conv.weight,
            Self::Sparse(sparse) => &sparse.values,
        }
    }
}

impl crate::Conv {
    fn mismatch(&self, n_out: usize) -> Option<(String, String)> {
        let groups = self.groups;
        let is_sane = groups > 0
            && self.in_channels.is_multiple_of(groups)
            && self.out_channels.is_multiple_of(groups)
            && self.stride.iter().chain(&self.dilation).chain(&self.kernel).all(|&value| value > 0)
            && self.in_height * self.in_width > 0
            && n_out == self.out_channels * self.out_height * self.out_width;
        if !is_sane {
            let expected = "positive strides, dilations and kernel, channels that the groups divide, a bias per output";
            return Some((expected.into(), format!("groups {groups}, {n_out} biases")));
        }
        let expected = self.out_channels * (self.in_channels / groups) * self.kernel[0] * self.kernel[1];
        (self.weight.len() != expected)
            .then(|| (format!("a weight of {expected} values"), format!("{} values", self.weight.len())))
    }
}

impl crate::Affine {
    fn check_finite(&self, node: &str) -> Result<(), Error> {
        let not_finite = |what: &str| ErrorKind::NotFinite { node: node.into(), what: what.into() };
        if self.map.coefficients().iter().any(|value| !value.is_finite()) {
            return Err(not_finite("the weight").into());
        }
        if self.bias.iter().any(|value| !value.is_finite()) {
            return Err(not_finite("the bias").into());
        }
        let n_out = self.n_out();
        let error = &self.error;
        let all = [error.relative].into_iter().chain(error.absolute.iter().copied()).chain(error.bias.iter().copied());
        let is_valid = |length: usize| length == 0 || length == n_out;
        if !is_valid(error.absolute.len())
            || !is_valid(error.bias.len())
            || !all.into_iter().all(|e| e >= 0.0 && e.is_finite())
        {
            return Err(not_finite("the error bound").into());
        }
        Ok(())
    }
}

impl crate::Activation {
    fn check(&self, node: &Node) -> Result<(), Error> {
        match self {
            Self::LeakyRelu(slopes) if slopes.len() != 1 && slopes.len() != node.len() => Err(ErrorKind::Shape {
                node: node.name.clone(),
                expected: format!("one slope or {}", node.len()),
                got: format!("{} slopes", slopes.len()),
            }
            .into()),
            Self::LeakyRelu(slopes) if slopes.iter().any(|slope| !slope.is_finite()) => {
                Err(ErrorKind::NotFinite { node: node.name.clone(), what: "the slope".into() }.into())
            }
            Self::Clip { lower, upper } if lower.is_nan() || upper.is_nan() || lower > upper => Err(ErrorKind::Shape {
                node: node.name.clone(),
                expected: "a lower end at or below the upper end".into(),
                got: format!("[{lower}, {upper}]"),
            }
            .into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
