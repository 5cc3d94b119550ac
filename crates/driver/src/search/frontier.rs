use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A piece of the region that is not decided yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Subdomain<P> {
    /// What describes it.
    pub piece: P,
    /// How far its parent was from decided: the priority.
    pub score: f64,
    /// Halvings since the region.
    pub depth: u32,
    /// Order of arrival, so that equal scores come out in a fixed order.
    pub serial: u64,
}

/// What an open subdomain takes.
pub trait Footprint {
    /// Bytes of memory, about.
    fn bytes(&self) -> usize;
}

/// The open subdomains, worst first.
#[derive(Debug)]
pub struct Frontier<P> {
    heap: BinaryHeap<Worst<P>>,
    n_pushed: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Worst<P>(Subdomain<P>);

impl<P: Footprint> Frontier<P> {
    /// Nothing open.
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), n_pushed: 0, bytes: 0 }
    }

    /// Adds a subdomain; its serial number is given here.
    pub fn push(&mut self, piece: P, score: f64, depth: u32) {
        self.n_pushed += 1;
        self.bytes += Self::cost(&piece);
        self.heap.push(Worst(Subdomain { piece, score, depth, serial: self.n_pushed }));
    }

    /// Takes up to `n` subdomains, worst first.
    pub fn pop(&mut self, n: usize) -> Vec<Subdomain<P>> {
        let popped: Vec<Subdomain<P>> =
            (0..n).map_while(|_| self.heap.pop()).map(|Worst(subdomain)| subdomain).collect();
        self.bytes -= popped.iter().map(|subdomain| Self::cost(&subdomain.piece)).sum::<u64>();
        popped
    }

    /// What is open, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &P> {
        self.heap.iter().map(|Worst(subdomain)| &subdomain.piece)
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

    /// Memory in use, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    fn cost(piece: &P) -> u64 {
        (size_of::<Subdomain<P>>() + piece.bytes()) as u64
    }
}

impl Footprint for Box<[f32]> {
    fn bytes(&self) -> usize {
        4 * self.len()
    }
}

impl<P> Ord for Worst<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.score.total_cmp(&self.0.score).then(other.0.serial.cmp(&self.0.serial))
    }
}

impl<P> PartialOrd for Worst<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for Worst<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<P> Eq for Worst<P> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_comes_first_and_ties_in_order_of_arrival() {
        let mut frontier = Frontier::new();
        for score in [1.0, -2.0, 0.5, -2.0] {
            frontier.push(Box::<[f32]>::from([]), score, 0);
        }
        let order: Vec<(f64, u64)> = frontier.pop(9).iter().map(|s| (s.score, s.serial)).collect();
        assert_eq!(order, [(-2.0, 2), (-2.0, 4), (0.5, 3), (1.0, 1)]);
    }
}
