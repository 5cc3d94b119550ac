// The rows of the current chunk, four to a tile.

struct Tile {
    subdomain: u32,
    // Of the tile's first row among its subdomain's rows.
    first_row: u32,
    // Neurons of the target that have rows: as many lower ends, then (if `n_rows` is larger) as many upper ends.
    n_neurons: u32,
    n_rows: u32,
}

// Number of tiles of this chunk.
fn count_tiles() -> u32 {
    let total = book[0];
    if total <= frame.first_tile {
        return 0u;
    }
    return min(total - frame.first_tile, frame.chunk_tiles);
}

fn tile_at(index: u32) -> Tile {
    let subdomain = book[frame.owners + frame.first_tile + index];
    let first_row = 4u * (frame.first_tile + index - book[frame.firsts + subdomain]);
    if frame.is_objective != 0u {
        return Tile(subdomain, first_row, frame.n_fixed, frame.n_fixed * frame.n_ends);
    }
    let count = marks[subdomain * frame.mark_stride + frame.list];
    return Tile(subdomain, first_row, count, 2u * count);
}

fn is_row(tile: Tile, r: u32) -> bool {
    return tile.first_row + r < tile.n_rows;
}

// The neuron of row `r` of the tile, which must be a row.
fn row_neuron(tile: Tile, r: u32) -> u32 {
    let row = tile.first_row + r;
    let index = select(row - tile.n_neurons, row, row < tile.n_neurons);
    if frame.is_objective != 0u {
        return index;
    }
    return marks[tile.subdomain * frame.mark_stride + frame.list + 1u + index];
}

// +1 for a lower end, -1 for an upper end.
fn row_sign(tile: Tile, r: u32) -> f32 {
    return select(-1.0, 1.0, tile.first_row + r < tile.n_neurons);
}
