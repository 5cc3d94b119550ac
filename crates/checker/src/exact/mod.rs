//! The checker's bounds once more, without a rounding anywhere: for networks that are small and piecewise linear.
//!
//! Floats are integers times powers of two, and sums and products of such numbers are such numbers. Slopes are floats that are chosen
//! as they are elsewhere, any of which is sound; intercepts follow from them exactly. There is no quotient, so that there is nothing to
//! round: what is accepted here rests on no rounding argument at all, and what misses zero by `2⁻¹⁰⁰` still misses it.
//!
//! Numbers grow by the length of a weight with every layer. That is why it is for small networks: a multiplication takes about a hundred
//! times as long as one of floats.

mod backward;
mod dyadic;
mod lines;
mod scope;

use network::{Activation, Network, Op};

pub use backward::bound;
pub use dyadic::Dyadic;
pub use scope::ExactScope;

/// Why a network has no exact bounds, if so.
pub fn obstacle(network: &Network) -> Option<String> {
    network.nodes().iter().find_map(|node| {
        let problem = match &node.op {
            Op::Affine(affine) if affine.error != network::WeightError::default() => {
                "its coefficients were folded on reading, and are known up to rounding only"
            }
            Op::Activation(Activation::Sigmoid | Activation::Tanh) => "it is not piecewise linear",
            _ => return None,
        };
        Some(format!("node {}: {problem}", node.name))
    })
}

/// Multiplications of one row's walk from the outputs to the inputs.
pub fn row_cost(network: &Network) -> u64 {
    network.nodes().iter().map(|node| node.len() as u64).sum::<u64>() + network.macs()
}

/// Multiplications of plain bounds of every node: two rows for every neuron that an activation may leave undecided.
pub fn scope_cost(network: &Network) -> u64 {
    let of_activation = |op: &Op| matches!(op, Op::Activation(_));
    let n_neurons: u64 =
        network.nodes().iter().filter(|node| of_activation(&node.op)).map(|node| node.len() as u64).sum();
    row_cost(network).saturating_mul(2 * n_neurons + 1)
}
