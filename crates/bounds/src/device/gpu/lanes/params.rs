use bytemuck::{Pod, Zeroable};

/// An activation, or a max-pool whose coefficients' signs are kept: see `shaders/shared/lane_params.wgsl`, whose words these are.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
pub struct LaneNode {
    pub slot: u32,
    pub n: u32,
    pub lines: u32,
    pub source: u32,
    pub first: u32,
    pub node: u32,
    pub is_relu: u32,
    pub from: u32,
    pub to: u32,
    pub two_units: f32,
    pub cap: f32,
    pub padding: u32,
}

/// Where the minimiser goes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct LaneEnd {
    pub to: u32,
    pub padding: [u32; 3],
}

/// Rows of the duals among which gaps are sought: those of the nodes below the target.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct LaneGaps {
    pub n_rows: u32,
    pub padding: [u32; 3],
}
