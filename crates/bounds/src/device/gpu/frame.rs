use bytemuck::{Pod, Zeroable};

/// Where things lie during one chunk of rows of one pass: see `shaders/shared/frame.wgsl`, whose words these are.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Frame {
    pub state_stride: u32,
    pub mark_stride: u32,
    pub n_inputs: u32,
    pub tile_capacity: u32,
    pub slot_size: u32,
    pub chunk_tiles: u32,
    pub n_chunks: u32,
    pub first_tile: u32,
    pub firsts: u32,
    pub owners: u32,
    pub arguments: u32,
    pub reaches: u32,
    pub grids: u32,
    pub n_grids: u32,
    pub list: u32,
    pub is_objective: u32,
    pub n_fixed: u32,
    pub n_ends: u32,
    pub lower: u32,
    pub slack: u32,
    pub split: u32,
    pub slopes: u32,
    pub inputs: u32,
    pub scores: u32,
}
