// What arithmetic promises, and the little that every kernel does with it.

// The unit in the last place of 1: the largest relative error of one operation that rounds either way.
const UNIT: f32 = 1.1920929e-7;
// Stands for "unbounded": WGSL has no infinities.
const HUGE: f32 = 3e38;

// By the exponent: comparisons may assume that infinities and NaN do not occur.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// A linear index from workgroups that were folded into two dimensions.
fn linear_index(workgroup: vec3<u32>, n_workgroups: vec3<u32>, size: u32, local: u32) -> u32 {
    return (workgroup.y * n_workgroups.x + workgroup.x) * size + local;
}
