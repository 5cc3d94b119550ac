use crate::preimage::element::Element;
use crate::preimage::piece::{Piece, Samples};
use crate::preimage::problem::Mode;
use crate::preimage::reduced::Reduced;

/// All pieces that were bounded: the two children of a piece cover what its approximation still speaks of.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

#[derive(Debug)]
struct Node {
    piece: Piece,
    children: Option<[usize; 2]>,
}

/// Nodes that together are the approximation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    /// Which.
    pub nodes: Vec<usize>,
    /// What they win: for an under-approximation its volume, for an over-approximation too.
    pub volume: f64,
    /// Polytopes.
    pub n_polytopes: usize,
}

impl Tree {
    /// Adds a piece without a parent; returns its place.
    pub fn push_root(&mut self, piece: Piece) -> usize {
        let place = self.push(piece);
        self.roots.push(place);
        place
    }

    /// Adds a child; returns its place.
    fn push(&mut self, piece: Piece) -> usize {
        self.nodes.push(Node { piece, children: None });
        self.nodes.len() - 1
    }

    /// One piece.
    pub fn piece(&self, at: usize) -> &Piece {
        &self.nodes[at].piece
    }

    /// Replaces an open piece by its children; what only bounding needed is dropped.
    pub fn replace(&mut self, at: usize, children: [Piece; 2]) -> [usize; 2] {
        let children = children.map(|child| self.push(child));
        let Node { piece, children: own } = &mut self.nodes[at];
        *own = Some(children);
        piece.base = None;
        piece.boxed = None;
        piece.samples = Samples::default();
        for part in &mut piece.parts {
            part.alpha = Vec::new();
            part.beta = Vec::new();
            part.gaps = Vec::new();
        }
        children
    }

    /// Polytopes of a node, if it stands for itself.
    fn n_polytopes(&self, at: usize, mode: Mode) -> usize {
        let piece = self.piece(at);
        if mode == Mode::Under && piece.tally.both <= 0.0 {
            return 0;
        }
        piece.parts.iter().filter(|part| !part.is_nothing).count()
    }

    /// The best selection where every polytope costs so much volume: exact, by dynamic programming from the leaves up.
    fn select(&self, mode: Mode, cost: f64) -> Selection {
        let n = self.nodes.len();
        // Value (to be made large) of the best selection below each node, and whether it is the node itself.
        let mut best: Vec<(f64, bool)> = vec![(0.0, true); n];
        for at in (0..n).rev() {
            let n_polytopes = self.n_polytopes(at, mode);
            let tally = &self.piece(at).tally;
            let own = match mode {
                Mode::Under if n_polytopes == 0 => 0.0,
                Mode::Under => (tally.both - cost * n_polytopes as f64).max(0.0),
                Mode::Over => -tally.approximation - cost * n_polytopes as f64,
            };
            best[at] = match self.nodes[at].children {
                // Equal volumes: the node itself has fewer polytopes.
                Some([left, right]) if best[left].0 + best[right].0 > own + 1e-15 => {
                    (best[left].0 + best[right].0, false)
                }
                _ => (own, true),
            };
        }
        let mut selection = Selection::default();
        let mut open: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(at) = open.pop() {
            match self.nodes[at].children {
                Some([left, right]) if !best[at].1 => open.extend([right, left]),
                _ => {
                    let n_polytopes = self.n_polytopes(at, mode);
                    let tally = &self.piece(at).tally;
                    let volume = if mode == Mode::Under { tally.both } else { tally.approximation };
                    let is_worth_it = mode == Mode::Over || volume > cost * n_polytopes as f64;
                    if n_polytopes > 0 && is_worth_it {
                        selection.nodes.push(at);
                        selection.volume += volume;
                        selection.n_polytopes += n_polytopes;
                    }
                }
            }
        }
        selection
    }

    /// The best approximation there is.
    pub fn best(&self, mode: Mode) -> Selection {
        if self.nodes.is_empty() { Selection::default() } else { self.select(mode, 0.0) }
    }

    /// About the fewest polytopes whose volume is still past the goal; the best approximation where none is.
    pub fn fewest(&self, mode: Mode, goal: f64) -> Selection {
        let is_enough = |selection: &Selection| match mode {
            Mode::Under => selection.volume >= goal,
            Mode::Over => selection.volume <= goal,
        };
        let mut best = self.best(mode);
        if !is_enough(&best) {
            return best;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            let selection = self.select(mode, middle);
            if is_enough(&selection) {
                if selection.n_polytopes <= best.n_polytopes {
                    best = selection;
                }
                low = middle;
            } else {
                high = middle;
            }
        }
        best
    }

    /// The polytopes of a selection.
    pub fn elements(&self, selection: &Selection, reduced: &Reduced, mode: Mode) -> Vec<Element> {
        let ends = if mode == Mode::Under { &reduced.inner } else { &reduced.outer };
        let mut elements = Vec::new();
        for &at in &selection.nodes {
            let piece = self.piece(at);
            let (lower, upper) = piece.sides();
            // f32 encloses the region: an element ends where the region does.
            let lower: Vec<f64> = lower.iter().zip(ends).map(|(&l, end)| f64::from(l).max(end.0)).collect();
            let upper: Vec<f64> = upper.iter().zip(ends).map(|(&u, end)| f64::from(u).min(end.1)).collect();
            for (target, part) in piece.parts.iter().enumerate().filter(|(_, part)| !part.is_nothing) {
                let planes = piece.held.iter().chain(&part.planes).cloned().collect();
                let element = Element { lower: lower.clone(), upper: upper.clone(), planes, target, volume: 0.0 };
                elements.push(element.simplified());
            }
        }
        elements
    }
}
