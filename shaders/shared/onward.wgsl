// Parameters of a relaxed forward pass. Names, order and sizes are those of the Rust structs in `sweep.rs`.

struct OnwardAffine {
    from_: u32,
    to: u32,
    n_out: u32,
    n_in: u32,
    weight: u32,
    bias: u32,
    rows: u32,
    wanted: u32,
}

struct OnwardMaxPool {
    from_: u32,
    to: u32,
    n_out: u32,
    bounds: u32,
    choice: u32,
    node: u32,
    padding: u32,
    more_padding: u32,
}
