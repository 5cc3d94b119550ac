use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A piece of the region that is not decided yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Subdomain {
    /// Lower ends of the inputs, then upper ends.
    pub ends: Box<[f32]>,
    /// How far its parent was from decided: the priority.
    pub score: f64,
    /// Halvings since the region.
    pub depth: u32,
    /// Order of arrival, so that equal scores come out in a fixed order.
    pub serial: u64,
}

/// The open subdomains, worst first.
#[derive(Debug, Default)]
pub struct Frontier {
    heap: BinaryHeap<Worst>,
    n_pushed: u64,
}

#[derive(Debug)]
struct Worst(Subdomain);

impl Frontier {
    /// Adds a subdomain; its serial number is given here.
    pub fn push(&mut self, ends: Box<[f32]>, score: f64, depth: u32) {
        self.n_pushed += 1;
        self.heap.push(Worst(Subdomain { ends, score, depth, serial: self.n_pushed }));
    }

    /// Takes up to `n` subdomains, worst first.
    pub fn pop(&mut self, n: usize) -> Vec<Subdomain> {
        (0..n).map_while(|_| self.heap.pop()).map(|Worst(subdomain)| subdomain).collect()
    }

    /// The worst score of all.
    pub fn worst(&self) -> Option<f64> {
        self.heap.peek().map(|Worst(subdomain)| subdomain.score)
    }

    /// Number of open subdomains.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Memory in use, bytes, for subdomains over `n_inputs` inputs.
    pub fn memory_bytes(&self, n_inputs: usize) -> u64 {
        (self.heap.len() * (size_of::<Subdomain>() + 8 * n_inputs)) as u64
    }
}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.score.total_cmp(&self.0.score).then(other.0.serial.cmp(&self.0.serial))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_comes_first_and_ties_in_order_of_arrival() {
        let mut frontier = Frontier::default();
        for score in [1.0, -2.0, 0.5, -2.0] {
            frontier.push(Box::new([]), score, 0);
        }
        let order: Vec<(f64, u64)> = frontier.pop(9).iter().map(|s| (s.score, s.serial)).collect();
        assert_eq!(order, [(-2.0, 2), (-2.0, 4), (0.5, 3), (1.0, 1)]);
    }
}
