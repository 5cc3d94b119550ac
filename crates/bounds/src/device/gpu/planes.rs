use std::collections::BTreeMap;

use crate::program::{ConvShape, Forward, PoolShape, Program, Step};

/// Height and width of the nodes that are images, by where their bounds lie in the state.
///
/// Backward rows that start at such a node store only what they reach (see `shaders/shared/reach.wgsl`). That needs all kernels
/// that touch a node to agree on its plane; where they do not, no node has one, and rows store everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planes(BTreeMap<u32, [u32; 2]>);

impl Planes {
    /// Finds the planes from the shapes of convolutions and max-pools.
    pub fn of(program: &Program<f32>) -> Self {
        let forward = || {
            program.steps.iter().filter_map(|step| match step {
                Step::Forward(forward) => Some(forward),
                _ => None,
            })
        };
        let mut planes = Self::default();
        for forward in forward() {
            let is_consistent = match forward {
                Forward::Conv(params, shape) => planes.note_conv(params.source, params.target, shape),
                Forward::MaxPool(params, shape) => planes.note_pool(params.source, params.target, shape),
                _ => true,
            };
            if !is_consistent {
                return Self::default();
            }
        }
        // Elementwise nodes pass planes on, in either direction.
        loop {
            let n_known = planes.0.len();
            for forward in forward() {
                let is_consistent = match forward {
                    Forward::Relax(params) => planes.share(params.source, params.target),
                    Forward::Add(params) => {
                        let operands = &program.tables[params.operands as usize..][..params.n_operands as usize];
                        operands.iter().all(|&operand| planes.share(operand, params.target))
                    }
                    _ => true,
                };
                if !is_consistent {
                    return Self::default();
                }
            }
            if planes.0.len() == n_known {
                break;
            }
        }
        // A backward step through a full matrix reads every coefficient of its output.
        let is_blocked =
            forward().any(|forward| matches!(forward, Forward::Dense(p) if planes.0.contains_key(&p.target)));
        if is_blocked { Self::default() } else { planes }
    }

    /// The plane of the node with these bounds; zeros if it has none.
    pub fn get(&self, bounds: u32) -> [u32; 2] {
        self.0.get(&bounds).copied().unwrap_or_default()
    }

    fn note_conv(&mut self, source: u32, target: u32, shape: &ConvShape) -> bool {
        is_short(shape.in_channels.max(shape.out_channels))
            && self.note(source, [shape.in_height, shape.in_width])
            && self.note(target, [shape.out_height, shape.out_width])
    }

    fn note_pool(&mut self, source: u32, target: u32, shape: &PoolShape) -> bool {
        is_short(shape.channels)
            && self.note(source, [shape.in_height, shape.in_width])
            && self.note(target, [shape.out_height, shape.out_width])
    }

    /// Whether a node can have this plane.
    fn note(&mut self, bounds: u32, plane: [u32; 2]) -> bool {
        plane.into_iter().all(is_short) && *self.0.entry(bounds).or_insert(plane) == plane
    }

    /// Whether two nodes can have the same plane.
    fn share(&mut self, a: u32, b: u32) -> bool {
        match (self.0.get(&a).copied(), self.0.get(&b).copied()) {
            (Some(plane), _) => self.note(b, plane),
            (None, Some(plane)) => self.note(a, plane),
            (None, None) => true,
        }
    }
}

/// Shaders keep coordinates in 16 bits.
fn is_short(n: u32) -> bool {
    u16::try_from(n).is_ok()
}
