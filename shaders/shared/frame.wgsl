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
    // Lanes only (`shaders/lanes`). All tiles of the submission; those that still move are at positions below `book[0]`.
    // Book: the tile at each position, the subdomain of each tile, the rows of each tile `[n_tiles, 4]` (a neuron, with the highest
    // bit for an upper end; all ones: none), what its lanes do (bits 0 to 3: rests, bits 4 to 7: its last bound was its best).
    n_tiles: u32,
    places: u32,
    subdomains: u32,
    words: u32,
    deeds: u32,
    // Book: splits `[n_splits, 4]` (lane, row of the duals, whether active, multiplier); slopes in 255ths, four lanes to a word,
    // `[n_rows, tile_capacity]`; which end of each input is the minimiser's, eight inputs to a word, `[n_inputs / 8, tile_capacity]`.
    splits: u32,
    n_splits: u32,
    bytes: u32,
    ends: u32,
    // Book: the largest gaps, if so many are wanted.
    gaps: u32,
    n_gaps: u32,
    // Duals, `[n_rows, tile_capacity]` each: slopes, coefficients as the last backward pass met them, moments, multipliers, their
    // units; mean coefficients `[n_nodes, tile_capacity]`; slopes and multipliers of the best bounds.
    low: u32,
    kept: u32,
    first_moment: u32,
    second_moment: u32,
    beta: u32,
    unit: u32,
    means: u32,
    best_low: u32,
    best_beta: u32,
    // Step lengths with Adam's correction; when a lane rests: 0 bound above `margin`, 1 bound not negative, 2 never.
    alpha_rate: f32,
    beta_rate: f32,
    margin: f32,
    goal: u32,
    // Whether lanes start from bytes; whether the gaps replace the first moments; Adam's memory of the gradient.
    has_bytes: u32,
    wants_gaps: u32,
    momentum: f32,
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
// Number of subdomains, sum of undecided neurons (low and high half), one unused, then as the frame says. Lanes have their duals here.
@group(0) @binding(9) var<storage, read_write> exchange: array<u32>;

fn n_subdomains() -> u32 {
    return exchange[0];
}
