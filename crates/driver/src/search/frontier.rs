use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::search::spill::Spill;
use crate::search::stored::Stored;

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

/// The open subdomains, worst first: in memory as far as its limit goes, the others, the least urgent, in a temporary file.
///
/// The order in which they come out does not depend on where they are.
#[derive(Debug)]
pub struct Frontier<P> {
    heap: BinaryHeap<Worst<P>>,
    n_pushed: u64,
    bytes: u64,
    most_bytes: u64,
    spill: Spill<Worst<P>>,
    /// Whether the file still takes something.
    can_spill: bool,
}

#[derive(Debug)]
struct Worst<P>(Subdomain<P>);

impl<P: Footprint + Stored> Default for Frontier<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Footprint + Stored> Frontier<P> {
    /// Nothing open, and no limit of memory.
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            n_pushed: 0,
            bytes: 0,
            most_bytes: u64::MAX,
            spill: Spill::new(&std::env::temp_dir()),
            can_spill: true,
        }
    }

    /// Limits the memory from now on, about.
    pub fn limit_memory(&mut self, bytes: u64) {
        self.most_bytes = bytes;
        self.spill_past_limit();
    }

    /// Adds a subdomain; its serial number is given here.
    pub fn push(&mut self, piece: P, score: f64, depth: u32) {
        self.n_pushed += 1;
        self.bytes += Self::cost(&piece);
        self.heap.push(Worst(Subdomain { piece, score, depth, serial: self.n_pushed }));
        self.spill_past_limit();
    }

    /// Takes up to `n` subdomains, worst first. Fewer come, and [`Self::memory_bytes`] exceeds every limit, where those in the file
    /// cannot be read back.
    pub fn pop(&mut self, n: usize) -> Vec<Subdomain<P>> {
        let mut popped = Vec::new();
        while popped.len() < n && self.spill.n_lost() == 0 {
            let Some(Worst(subdomain)) = (if self.heap.peek() < self.spill.peek() {
                self.spill.pop()
            } else {
                let popped = self.heap.pop();
                self.bytes -= popped.as_ref().map_or(0, |Worst(subdomain)| Self::cost(&subdomain.piece));
                popped
            }) else {
                break;
            };
            popped.push(subdomain);
        }
        popped
    }

    /// The worst score of all; nothing is known of what cannot be read back.
    pub fn worst(&self) -> Option<f64> {
        if self.spill.n_lost() > 0 {
            return Some(f64::NEG_INFINITY);
        }
        self.heap.peek().max(self.spill.peek()).map(|Worst(subdomain)| subdomain.score)
    }

    /// Number of open subdomains.
    pub fn len(&self) -> usize {
        self.heap.len() + self.spill.len()
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory in use, bytes: past the limit only where the file takes no more, and past any where it cannot be read back.
    pub fn memory_bytes(&self) -> u64 {
        if self.spill.n_lost() > 0 { u64::MAX } else { self.bytes }
    }

    /// Moves the least urgent subdomains to the file, until half of the limit is free. What cannot be written stays.
    fn spill_past_limit(&mut self) {
        if self.bytes <= self.most_bytes || !self.can_spill {
            return;
        }
        let mut worst_first = std::mem::take(&mut self.heap).into_vec();
        worst_first.sort_unstable_by(|a, b| b.cmp(a));
        let mut n_kept = 0;
        let mut bytes = 0;
        for Worst(subdomain) in &worst_first {
            let more = bytes + Self::cost(&subdomain.piece);
            if more > self.most_bytes / 2 {
                break;
            }
            (n_kept, bytes) = (n_kept + 1, more);
        }
        if self.spill.write(&worst_first[n_kept..]).is_ok() {
            worst_first.truncate(n_kept);
            worst_first.shrink_to_fit();
            self.bytes = bytes;
        } else {
            self.can_spill = false;
        }
        self.heap = worst_first.into();
    }

    fn cost(piece: &P) -> u64 {
        (size_of::<Subdomain<P>>() + piece.bytes()) as u64
    }
}

impl<P: Stored> Stored for Worst<P> {
    fn store(&self, bytes: &mut Vec<u8>) {
        let Self(Subdomain { piece, score, depth, serial }) = self;
        piece.store(bytes);
        score.store(bytes);
        depth.store(bytes);
        serial.store(bytes);
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self(Subdomain {
            piece: P::restore(bytes)?,
            score: f64::restore(bytes)?,
            depth: u32::restore(bytes)?,
            serial: u64::restore(bytes)?,
        }))
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
    use crate::search::random::Random;

    #[test]
    fn worst_comes_first_and_ties_in_order_of_arrival() {
        let mut frontier = Frontier::new();
        for score in [1.0, -2.0, 0.5, -2.0] {
            frontier.push(Box::<[f32]>::from([]), score, 0);
        }
        let order: Vec<(f64, u64)> = frontier.pop(9).iter().map(|s| (s.score, s.serial)).collect();
        assert_eq!(order, [(-2.0, 2), (-2.0, 4), (0.5, 3), (1.0, 1)]);
    }

    /// Pushes and pops of a made-up search; returns what came out, in order, and how many were in the file at most.
    fn order(seed: u64, limit: u64) -> (Vec<Subdomain<Box<[f32]>>>, usize) {
        let mut frontier = Frontier::new();
        frontier.limit_memory(limit);
        let mut random = Random::new(seed);
        let (mut order, mut most) = (Vec::new(), 0);
        for step in 0..400_u32 {
            let n = (random.unit() * 20.0) as usize;
            if random.unit() < if step < 300 { 0.6 } else { 0.3 } {
                for _ in 0..n {
                    // Few scores, so that there are ties.
                    let score = f64::from((random.unit() * 40.0).floor()) - 20.0;
                    let ends = (0..4).map(|_| random.unit()).collect();
                    frontier.push(ends, score, step);
                }
            } else {
                order.extend(frontier.pop(n));
            }
            most = most.max(frontier.spill.len());
            assert!(frontier.memory_bytes() <= limit);
            let worst = frontier.worst();
            if step % 50 == 0
                && let Some(subdomain) = frontier.pop(1).pop()
            {
                assert_eq!(worst, Some(subdomain.score));
                order.push(subdomain);
            }
        }
        order.extend(frontier.pop(usize::MAX));
        assert!(frontier.is_empty() && frontier.memory_bytes() == 0);
        (order, most)
    }

    #[test]
    fn what_was_spilled_comes_out_in_the_same_order() {
        for seed in 0..10 {
            let (expected, none) = order(seed, u64::MAX);
            assert_eq!(none, 0);
            for limit in [0, 100, 500, 3000, 10_000] {
                let (got, most) = order(seed, limit);
                assert!(most > 0, "nothing was spilled at {limit}");
                assert_eq!(got, expected, "seed {seed}, limit {limit}");
            }
        }
    }

    #[test]
    fn what_cannot_be_written_stays_in_memory() {
        let mut frontier = Frontier::new();
        frontier.spill = Spill::new(&std::env::temp_dir().join("no such folder of diadem"));
        frontier.limit_memory(200);
        for score in 0..50 {
            frontier.push(Box::<[f32]>::from([1.0]), f64::from(score), 0);
        }
        assert!(frontier.memory_bytes() > 200, "the search must stop");
        assert_eq!(frontier.len(), 50);
        let scores: Vec<f64> = frontier.pop(99).iter().map(|subdomain| subdomain.score).collect();
        assert_eq!(scores, (0..50).map(f64::from).collect::<Vec<f64>>());
    }
}
