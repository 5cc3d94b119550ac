//! Sets of inputs that are smaller than their boxes: what a backward pass may be concretised over instead.
//!
//! Every set here is bounded in one way. For *any* vector `s`, `min a x ≥ min_box (a − s) x + min_set s x`: the box has a closed form, and so
//! has the set alone. Whatever proposes `s` may be as inexact as it likes. Where set and box are convex, the best `s` leaves no gap.

mod boxed;
mod pixels;
mod slices;
mod ssim;
#[cfg(feature = "gpu")]
mod table;
mod windows;

use windows::Forms;

pub use ssim::SsimSet;
#[cfg(feature = "gpu")]
pub use table::BallTable;
pub use windows::WindowedSet;

/// What inputs lie in besides a box.
#[derive(Debug, Clone, PartialEq)]
pub enum InputSet {
    /// Images similar to one, with one window for everything or one for every channel.
    Ssim(SsimSet),
    /// Images similar to one on average over small windows.
    Windowed(WindowedSet),
}

/// Room for bounding a row, kept from row to row.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The coefficients.
    pub a: Vec<f64>,
    /// The box.
    pub lower: Vec<f64>,
    /// Its upper ends.
    pub upper: Vec<f64>,
    /// A point that nearly minimises the last row.
    pub point: Vec<f64>,
    trial: Vec<f64>,
    states: Vec<ssim::State>,
    tables: Vec<f64>,
    forms: Option<Forms>,
}

/// How accurately a row is bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Steps at most.
    pub steps: usize,
    /// The share of what the set allows that may be left open.
    pub gap: f64,
    /// Trials at most where the steps do not settle.
    pub trials: usize,
}

impl InputSet {
    /// Number of inputs.
    pub fn n_inputs(&self) -> usize {
        match self {
            Self::Ssim(set) => set.n_inputs(),
            Self::Windowed(set) => set.n_inputs(),
        }
    }

    /// A box that contains the set and lies in `[0, 1]`; `None` if the set is empty.
    pub fn enclosure(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        match self {
            Self::Ssim(set) => set.enclosure(),
            Self::Windowed(set) => Some(set.enclosure()),
        }
    }

    /// The means that occur, where the set is made of slices of one mean each.
    pub fn means(&self) -> Option<[f64; 2]> {
        match self {
            Self::Ssim(set) => set.means(),
            Self::Windowed(_) => None,
        }
    }

    /// The set as a device takes it; none where devices have no kernel for it: they know one window over everything.
    #[cfg(feature = "gpu")]
    pub(crate) fn table(&self) -> Option<BallTable> {
        match self {
            Self::Ssim(set) => set.single().and_then(|(centred, slices)| BallTable::new(centred, slices)),
            Self::Windowed(_) => None,
        }
    }

    /// A lower bound of `Σ a x` over the set and the box in `room`, sound in real arithmetic; the point that nearly takes it is left
    /// in `room`. Stops early once the bound is more than `enough`.
    #[inline(always)]
    pub fn least(&self, room: &mut Room, enough: f64, effort: Effort) -> f64 {
        match self {
            Self::Ssim(set) => set.least(room, enough, effort),
            Self::Windowed(set) => set.least(room, enough, effort),
        }
    }
}

impl Room {
    /// Room for rows over a box.
    pub fn within(lower: Vec<f64>, upper: Vec<f64>) -> Self {
        Self { lower, upper, ..Self::default() }
    }
}

impl Effort {
    /// As far as f64 goes.
    pub const PRECISE: Self = Self { steps: 40, gap: 1e-7, trials: 300 };
}

impl Default for Effort {
    fn default() -> Self {
        Self { steps: 8, gap: 1e-3, trials: 0 }
    }
}

#[cfg(test)]
mod tests;
