//! Fewer nodes that mean the same: consecutive affine maps are merged where that costs nothing, identities dropped.

mod compose;
mod row_sum;

use std::sync::Arc;

use crate::{Affine, Error, LinearMap, Network, NodeId, Op, Sparse};

impl Network {
    /// The same function with consecutive affine maps merged and identities dropped, full matrices of few entries stored sparsely.
    ///
    /// Two maps are merged only where nothing else reads the first, and where the result stores no more coefficients than both
    /// together. What rounding does to merged coefficients is added to their [`WeightError`](crate::WeightError): the
    /// networks enclose the same real function. Where every product and sum is exact, the error stays what it was.
    ///
    /// # Errors
    /// None for a valid network: the sizes of the parts fit each other.
    pub fn simplify(&self) -> Result<Network, Error> {
        let mut nodes = self.nodes().to_vec();
        for node in &mut nodes {
            if let Op::Affine(affine) = &node.op
                && let Some(thinned) = affine.thinned()
            {
                node.op = Op::Affine(Arc::new(thinned));
            }
        }
        let mut n_readers = vec![0usize; nodes.len()];
        for input in nodes.iter().flat_map(|node| &node.inputs) {
            n_readers[input.0] += 1;
        }
        // Whoever asks for the network's output.
        n_readers[nodes.len() - 1] += 1;
        // Whoever reads node `i` reads `stands_for[i]` instead.
        let mut stands_for: Vec<NodeId> = (0..nodes.len()).map(NodeId).collect();
        for id in 0..nodes.len() {
            for input in &mut nodes[id].inputs {
                *input = stands_for[input.0];
            }
            let Op::Affine(mut affine) = nodes[id].op.clone() else { continue };
            let mut operand = nodes[id].inputs[0];
            if let Op::Affine(first) = &nodes[operand.0].op
                && n_readers[operand.0] == 1
                && let Some(merged) = affine.after(first)
            {
                n_readers[operand.0] = 0;
                affine = Arc::new(merged);
                operand = nodes[operand.0].inputs[0];
                nodes[id].inputs = vec![operand];
                nodes[id].op = Op::Affine(affine.clone());
            }
            if affine.is_identity() {
                stands_for[id] = operand;
                n_readers[operand.0] = n_readers[operand.0] + n_readers[id] - 1;
            }
        }

        let mut builder = Network::builder(&nodes[0].shape)?;
        let mut place = vec![NodeId(0); nodes.len()];
        for (id, node) in nodes.iter().enumerate().skip(1) {
            // Nobody reads merged and dropped nodes any more.
            if stands_for[id] == NodeId(id) && n_readers[id] > 0 {
                let inputs: Vec<NodeId> = node.inputs.iter().map(|input| place[input.0]).collect();
                place[id] = builder.push(node.name.clone(), node.op.clone(), &inputs, &node.shape)?;
            }
        }
        builder.build(place[stands_for[nodes.len() - 1].0])
    }
}

impl Affine {
    /// The same map stored sparsely, if it is a large full matrix of which at most one entry in eight is not zero (lattice
    /// networks hold one in a thousand).
    fn thinned(&self) -> Option<Affine> {
        let LinearMap::Dense(dense) = &self.map else { return None };
        let n_entries = dense.weight.iter().filter(|&&w| w != 0.0).count();
        if dense.weight.len() < 4096 || 8 * n_entries > dense.weight.len() {
            return None;
        }
        let mut sparse = Sparse { n_in: dense.n_in, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
        for row in dense.weight.chunks_exact(dense.n_in) {
            for (column, &w) in row.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                sparse.columns.push(column as u32);
                sparse.values.push(w);
            }
            sparse.offsets.push(sparse.values.len() as u32);
        }
        Some(Affine { map: LinearMap::Sparse(sparse), bias: self.bias.clone(), error: self.error.clone() })
    }

    /// Whether the map changes nothing: the identity, exactly.
    pub fn is_identity(&self) -> bool {
        let is_exact = self.error.relative == 0.0 && self.error.absolute.is_empty() && self.error.bias.is_empty();
        let is_unit = match &self.map {
            LinearMap::Sparse(sparse) => {
                sparse.diagonal().is_some_and(|scales| scales.iter().all(|&scale| scale == 1.0))
            }
            LinearMap::Dense(dense) => {
                let unit = |(i, &w): (usize, &f64)| w == if i / dense.n_in == i % dense.n_in { 1.0 } else { 0.0 };
                dense.n_in == dense.n_out && dense.weight.iter().enumerate().all(unit)
            }
            LinearMap::Conv(_) => false,
        };
        is_exact && is_unit && self.bias.iter().all(|&b| b == 0.0)
    }
}

impl Sparse {
    /// The scales, when the matrix is square with exactly its diagonal stored.
    pub fn diagonal(&self) -> Option<&[f64]> {
        let n = self.n_in;
        let is_diagonal = self.values.len() == n
            && self.offsets.len() == n + 1
            && self.offsets.iter().enumerate().all(|(k, &offset)| offset as usize == k)
            && self.columns.iter().enumerate().all(|(k, &column)| column as usize == k);
        is_diagonal.then_some(self.values.as_slice())
    }
}

#[cfg(test)]
mod tests;
