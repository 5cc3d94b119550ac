// Parameters of the kernels of lanes. Names, order and sizes are those of the Rust structs in `device/gpu/lanes/params.rs`.

// An activation, or a max-pool whose coefficients' signs are kept.
struct LaneNode {
    // Its coefficients; its length; its lines and its operand's bounds in the state.
    slot: u32,
    n: u32,
    lines: u32,
    source: u32,
    // Its first row among the duals, and its own number.
    first: u32,
    node: u32,
    is_relu: u32,
    // Values: the slot that is read, and the one that is written.
    from_: u32,
    to: u32,
    // `2 unit`, and the largest multiplier.
    two_units: f32,
    cap: f32,
    padding: u32,
}

// Where the minimiser goes.
struct LaneEnd {
    to: u32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}

// Rows of the duals among which gaps are sought: those of the nodes below the target.
struct LaneGaps {
    n_rows: u32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}
