use network::NodeId;

/// Which slot holds which node's coefficients during a walk.
pub struct Slots {
    pub of: Vec<Option<usize>>,
    pub free: Vec<usize>,
    pub n_used: usize,
}

impl Slots {
    pub fn new(n_nodes: usize) -> Self {
        Self { of: vec![None; n_nodes], free: Vec::new(), n_used: 0 }
    }

    pub fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.n_used += 1;
            self.n_used - 1
        })
    }

    pub fn assign(&mut self, node: NodeId) -> usize {
        let slot = self.take();
        self.of[node.0] = Some(slot);
        slot
    }

    pub fn release(&mut self, node: NodeId) {
        if let Some(slot) = self.of[node.0].take() {
            self.free.push(slot);
        }
    }
}
