//! Patches: can any content of a patch on an image change its class, and for which placements is it proved that none can?

mod attack;
mod blocks;
mod claim;
mod descent;
mod refine;
mod region;
mod scale;
mod stencil;
mod summary;
mod sweep;
mod trial;
mod verdict;

pub use attack::{Contents, Patch, PatchAttack, Placement, Positions};
pub use blocks::SIDES;
pub use claim::PatchClaim;
pub use region::{Ends, PatchRegion, Substitution};
pub use scale::{Enclosed, PixelScale};
pub use stencil::Stencil;
pub use summary::{SweepSummary, Tally};
pub use sweep::{Against, CoverageOptions, PatchSweep, Scene, SweepOptions, Task};
pub use verdict::{Coverage, Finding, PatchCounterexample, PatchStage, PatchVerdict, changed};
