// What every kernel sees besides its parameters: where things lie, and the memory spaces of `program.rs`.
//
// All subdomains of a batch share one submission. The number of rows of a pass is known only here, on the device: `assign_rows`
// lays them out in tiles of four (one tile, one subdomain) and the tiles in chunks of at most `chunk_tiles`, each of which
// walks backwards on its own with as many workgroups as it needs, possibly none.

//#import shared/arithmetic

struct Frame {
    // Elements per subdomain.
    state_stride: u32,
    mark_stride: u32,
    // Number of inputs of the network.
    n_inputs: u32,
    // Tiles that the coefficients and rows have room for, and four-row elements of a coefficient slot.
    tile_capacity: u32,
    slot_size: u32,
    // Tiles per chunk of this pass, chunks of this pass, and the first tile of this chunk.
    chunk_tiles: u32,
    n_chunks: u32,
    first_tile: u32,
    // Book: first tile of each subdomain `[n_subdomains + 1]`, owner of each tile, dispatch arguments `[n_chunks, n_grids, 3]`.
    firsts: u32,
    owners: u32,
    arguments: u32,
    // Book: what each tile of a chunk reaches `[n_slots, tile_capacity, 4]`.
    reaches: u32,
    // Tables: `[n_grids, 2]`, tiles per workgroup and workgroups along the neurons.
    grids: u32,
    n_grids: u32,
    // Marks: the list of undecided neurons of a refinement.
    list: u32,
    // The objective has the same rows in every subdomain: `n_fixed` lower ends, then, with `n_ends` 2, as many upper ends.
    is_objective: u32,
    n_fixed: u32,
    n_ends: u32,
    // Exchange: the results, lower ends and slacks `[n_subdomains, n_rows]`; the inputs to split at `[n_subdomains]`; if wanted, the
    // slopes `[n_subdomains, n_rows, n_inputs]`; the input boxes `[n_subdomains, 2, n_inputs]`;
    // the inputs' scores, by undecided neurons and by outputs `[n_subdomains, 2, n_inputs]`.
    lower: u32,
    slack: u32,
    split: u32,
    slopes: u32,
    inputs: u32,
    scores: u32,
}

@group(0) @binding(1) var<uniform> frame: Frame;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read_write> state: array<f32>;
@group(0) @binding(5) var<storage, read_write> marks: array<u32>;
// Slot `s`, neuron `j`, tile `t` of a chunk with `n_tiles`: element `s * slot_size + j * n_tiles + t`.
@group(0) @binding(6) var<storage, read_write> coefficients: array<vec4<f32>>;
// Biases `[tile_capacity]`, then slacks.
@group(0) @binding(7) var<storage, read_write> rows: array<vec4<f32>>;
// Number of tiles of the pass, three unused, then as the frame says.
@group(0) @binding(8) var<storage, read_write> book: array<u32>;
// Number of subdomains, sum of undecided neurons (low and high half), one unused, then as the frame says.
@group(0) @binding(9) var<storage, read_write> exchange: array<u32>;

fn n_subdomains() -> u32 {
    return exchange[0];
}
