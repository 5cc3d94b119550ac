use network::{Activation, Network, Op, Property};

use crate::error::Error;

/// A network as it was read and a property of it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The network; nothing is merged, folded or dropped.
    pub network: &'a Network,
    /// What a violation would be.
    pub property: &'a Property,
}

impl<'a> Question<'a> {
    /// Checks that both speak of the same inputs and outputs.
    ///
    /// # Errors
    /// When they do not.
    pub fn new(network: &'a Network, property: &'a Property) -> Result<Self, Error> {
        property.check_sizes(network.n_inputs(), network.n_outputs()).map_err(|e| Error::Mismatch(e.to_string()))?;
        Ok(Self { network, property })
    }

    /// The nodes that are `ReLU`s, in order: certificates count them.
    pub fn relus(&self) -> Vec<usize> {
        let is_relu = |op: &Op| matches!(op, Op::Activation(Activation::Relu));
        let nodes = self.network.nodes().iter().enumerate();
        nodes.filter(|(_, node)| is_relu(&node.op)).map(|(id, _)| id).collect()
    }
}
