// Which coefficients of a tile may differ from zero. Rows that start at a few pixels of an image reach only a block of channels
// and positions around them, and only that block is stored and read: what lies outside is zero, whatever the slot holds there.

struct Reach {
    // From the first to behind the last.
    channels: vec2<u32>,
    ys: vec2<u32>,
    xs: vec2<u32>,
    // The plane that positions belong to; 0: everything is stored.
    height: u32,
    width: u32,
}

fn reach_place(slot: u32, tile: u32) -> u32 {
    return frame.reaches + 4u * (slot * frame.tile_capacity + tile);
}

fn halves(word: u32) -> vec2<u32> {
    return vec2<u32>(word & 0xffffu, word >> 16u);
}

fn load_reach(slot: u32, tile: u32) -> Reach {
    let place = reach_place(slot, tile);
    let plane = halves(book[place + 3u]);
    return Reach(halves(book[place]), halves(book[place + 1u]), halves(book[place + 2u]), plane.x, plane.y);
}

fn store_reach(slot: u32, tile: u32, reach: Reach) {
    let place = reach_place(slot, tile);
    book[place] = reach.channels.x | (reach.channels.y << 16u);
    book[place + 1u] = reach.ys.x | (reach.ys.y << 16u);
    book[place + 2u] = reach.xs.x | (reach.xs.y << 16u);
    book[place + 3u] = reach.height | (reach.width << 16u);
}

fn everything() -> Reach {
    return Reach(vec2<u32>(), vec2<u32>(), vec2<u32>(), 0u, 0u);
}

fn length(range: vec2<u32>) -> u32 {
    return range.y - range.x;
}

// How many of a node's `n` coefficients are stored.
fn count_reached(reach: Reach, n: u32) -> u32 {
    if reach.width == 0u {
        return n;
    }
    return length(reach.channels) * length(reach.ys) * length(reach.xs);
}

// The neuron of stored coefficient `index`.
fn reached(reach: Reach, index: u32) -> u32 {
    if reach.width == 0u {
        return index;
    }
    let width = length(reach.xs);
    let line = index / width;
    let height = length(reach.ys);
    let channel = reach.channels.x + line / height;
    let y = reach.ys.x + line % height;
    return (channel * reach.height + y) * reach.width + reach.xs.x + index % width;
}

fn contains(range: vec2<u32>, value: u32) -> bool {
    return value >= range.x && value < range.y;
}

// Whether the coefficient of a neuron is stored.
fn is_reached(reach: Reach, neuron: u32) -> bool {
    if reach.width == 0u {
        return true;
    }
    let line = neuron / reach.width;
    return contains(reach.xs, neuron % reach.width)
        && contains(reach.ys, line % reach.height)
        && contains(reach.channels, line / reach.height);
}

// The least reach that holds two of the same node.
fn union_reach(a: Reach, b: Reach) -> Reach {
    if a.width == 0u || b.width == 0u {
        return everything();
    }
    return Reach(both(a.channels, b.channels), both(a.ys, b.ys), both(a.xs, b.xs), a.height, a.width);
}

fn both(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(min(a.x, b.x), max(a.y, b.y));
}

// The operand coordinates that windows at `range` touch, along an axis of `n`.
fn window_range(range: vec2<u32>, stride: u32, dilation: u32, kernel: u32, pad: u32, n: u32) -> vec2<u32> {
    let begin = min(max(range.x * stride, pad) - pad, n);
    let end = (max(range.y, 1u) - 1u) * stride + (kernel - 1u) * dilation + 1u;
    return vec2<u32>(begin, max(begin, min(max(end, pad) - pad, n)));
}
