use crate::kernels::concretize::concretize;
use crate::kernels::rows::{Block, LANES};
use crate::program::Concretize;
use crate::scalar::Scalar;
use crate::set::{Effort, InputSet, Room};

/// What a pass over a set of inputs needs besides the block, allocated once per worker.
#[derive(Debug, Clone, Default)]
pub struct SetRoom {
    room: Room,
    /// The constant terms before the box was added.
    constants: Vec<f64>,
    /// Coefficients of one vector of rows, a row after the other.
    columns: Vec<f64>,
}

/// Ends a pass: over the box, and over the set as well if there is one.
#[inline(always)]
pub fn conclude<T: Scalar, const LEVEL: u8>(
    params: &Concretize,
    set: Option<&InputSet>,
    state: &[T],
    n_rows: usize,
    block: &mut Block<T>,
) {
    let Some(set) = set else {
        concretize::<T, LEVEL>(params, state, block);
        return;
    };
    let mut scratch = std::mem::take(&mut block.set_room);
    scratch.constants.clear();
    scratch.constants.extend(block.bias.iter().map(|bias| bias.to_f64()));
    concretize::<T, LEVEL>(params, state, block);
    concretize_set(params, set, state, n_rows, block, &mut scratch);
    block.set_room = scratch;
}

/// Tightens the bounds that `concretize` has left by those over `set` and box together, and leaves each row's minimiser in
/// `block.points`, `[n_inputs, width]`.
///
/// The slack of the box pass is taken over: it pays for the coefficients' errors at every point of the box, the set's among them. What the
/// set's own arithmetic (f64) loses is inside its bound. Rows of a batch need not be tight beyond zero: they stop there.
#[inline(always)]
fn concretize_set<T: Scalar>(
    params: &Concretize,
    set: &InputSet,
    state: &[T],
    n_rows: usize,
    block: &mut Block<T>,
    scratch: &mut SetRoom,
) {
    let effort = if T::UNIT.to_f64() < 1e-12 { Effort::PRECISE } else { Effort::default() };
    let (n, width) = (params.n as usize, block.width);
    let SetRoom { room, constants, columns } = scratch;
    let (lower, upper) = (&state[..n], &state[n..2 * n]);
    room.lower.clear();
    room.lower.extend(lower.iter().map(|value| value.to_f64()));
    room.upper.clear();
    room.upper.extend(upper.iter().map(|value| value.to_f64()));
    block.points.resize(n * width, T::ZERO);
    columns.resize(n * LANES, 0.0);
    for vector in (0..width).step_by(LANES) {
        let n_lanes = LANES.min(n_rows.saturating_sub(vector));
        columns.fill(0.0);
        let slot = &block.slots[params.slot as usize];
        for &i in &block.live[params.slot as usize] {
            let values = &slot[i as usize * width + vector..][..n_lanes];
            for (lane, value) in values.iter().enumerate() {
                columns[lane * n + i as usize] = value.to_f64();
            }
        }
        for lane in 0..n_lanes {
            let row = vector + lane;
            room.a.clear();
            room.a.extend_from_slice(&columns[lane * n..][..n]);
            let (constant, slack) = (constants[row], block.slack[row].to_f64());
            let least = set.least(room, slack - constant, effort);
            let bound = (least + constant) - slack;
            let bound = T::below(bound - 4.0 * f64::EPSILON * (least.abs() + constant.abs() + slack));
            // NaN loses.
            if bound > block.bias[row] {
                block.bias[row] = bound;
            }
            for (i, &x) in room.point.iter().enumerate() {
                block.points[i * width + row] = T::of(x);
            }
        }
    }
}
