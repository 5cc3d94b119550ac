// The whole of CROWN for one subdomain in one workgroup. Nothing but the result leaves the chip.
//
// Memory: the state of `program.rs` and the lists of neurons are in workgroup memory. Coefficients are in registers: invocation
// (pair, owner) holds the eight rows of two tiles at neurons `owner + c QUADS`, `c` in 0..4, of whatever node the walk is at, and
// does everything elementwise there: lines, terms, the end at the input. Biases and slacks are summed per owner through the whole
// walk and across owners only at its end. Only a product needs other owners' coefficients: they pass through `slot`.
//
// A product reads `slot[k STRIDE + tile]`: the invocations of a warp ask for one or two of a few neighbours (broadcast), and
// neighbouring owners write at an odd stride of 16 bytes (no bank twice). Three loads of 16 bytes feed 32 multiply-adds. Weights are packed `[n_out, QUADS]` by owner and read
// four columns at a time, neighbours by neighbours; all workgroups share them in the cache. Pairs are the slow index: those that
// have no rows are whole warps that wait. Inactive neurons (lines zero) are in no list and cost nothing.
//
// Barriers: three per step, two per product and two per chunk of rows; each is met by all invocations, since tables are the same for
// all and counts are read from workgroup memory behind a barrier.

//#import shared/params
//#import shared/arithmetic
//#import shared/fused
//#import shared/constants4
//#import shared/affine
//#import shared/activation
//#import shared/undecided
//#import shared/steps

// Owners; rows per chunk, by four, an even number; the odd stride; invocations; sizes of the memories.
override QUADS: u32 = 13u;
override TILES: u32 = 8u;
override STRIDE: u32 = 9u;
override SIZE: u32 = 52u;
override STATE: u32 = 1024u;
override LISTS: u32 = 256u;
override SLOT: u32 = 256u;

// 32 neurons a word, one half for even steps and one for odd ones.
const MASK_WORDS: u32 = 32u;
// Where bounds are loose, the outputs' own coefficients say little: as on the host (`INNER_WEIGHT`).
const INNER_WEIGHT: f32 = 4.0;
// 2^-100.
const LEAST_TOTAL: f32 = 7.888609e-31;

var<workgroup> state: array<f32, STATE>;
// Each list: a count, the neurons in increasing order, and up to three more that have no coefficients. Place 0: all neurons.
var<workgroup> lists: array<u32, LISTS>;
var<workgroup> slot: array<vec4<f32>, SLOT>;
var<workgroup> inverse: array<f32, 64>;
var<workgroup> mask: array<atomic<u32>, 64>;
var<workgroup> chosen: u32;

// The four rows of a tile at the neurons of one owner.
struct Four {
    c0: vec4<f32>,
    c1: vec4<f32>,
    c2: vec4<f32>,
    c3: vec4<f32>,
}

// The eight rows of a pair of tiles.
struct Pair {
    a: Four,
    b: Four,
}

// The eight rows at one neuron.
struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
}

// A chunk of rows of a pass: `n_neurons` lower ends, then as many upper ends if `n_rows` is larger.
struct Chunk {
    first_row: u32,
    n_neurons: u32,
    n_rows: u32,
    // Lists: the neurons; 0: all.
    list: u32,
}

fn chunk_neuron(chunk: Chunk, row: u32) -> u32 {
    return lists[chunk.list + 1u + select(row - chunk.n_neurons, row, row < chunk.n_neurons)];
}

fn chunk_sign(chunk: Chunk, row: u32) -> f32 {
    return select(-1.0, 1.0, row < chunk.n_neurons);
}

// What must be there before the first step; the box is in the state already.
fn begin(local: u32) {
    for (var e = local; e < 4u * QUADS; e += SIZE) {
        lists[1u + e] = e;
    }
    for (var w = local; w < 2u * MASK_WORDS; w += SIZE) {
        atomicStore(&mask[w], 0u);
    }
    workgroupBarrier();
}

// Bounds the box at the start of the state: the result lies in the state, the input to split at in `chosen`, both behind a barrier.
// Returns the number of undecided neurons.
fn bound_box(subdomain: u32, local: u32) -> u32 {
    begin(local);
    var inner = vec4<f32>();
    var outer = vec4<f32>();
    var n_undecided = 0u;
    for (var s = 0u; s < frame.n_steps; s++) {
        let step = steps[s];
        let half = (s & 1u) * MASK_WORDS;
        if step.kind == DENSE {
            store_balls(step.params, local);
        }
        workgroupBarrier();
        if step.kind == DENSE {
            bound_affine(step, local);
        } else if step.kind == ACTIVATION {
            bound_activation(step.params, half, local);
        } else if step.list != 0u {
            mark_undecided(step.params, half, local);
        }
        workgroupBarrier();
        if step.kind != DENSE && step.list != 0u {
            write_list(step, half, local);
        }
        workgroupBarrier();
        for (var w = local; w < MASK_WORDS; w += SIZE) {
            atomicStore(&mask[half + w], 0u);
        }
        var chunk = Chunk(0u, 0u, 0u, 0u);
        var is_objective = false;
        if step.kind == PASS {
            is_objective = passes[step.params].is_objective != 0u;
            if is_objective {
                chunk = Chunk(0u, step.n, frame.n_rows, 0u);
            } else {
                let count = lists[step.list];
                chunk = Chunk(0u, count, 2u * count, step.list);
                n_undecided += count;
            }
        }
        for (; chunk.first_row < chunk.n_rows; chunk.first_row += 4u * TILES) {
            let shares = walk(step.params, chunk, subdomain, local);
            inner += select(shares, vec4<f32>(), is_objective);
            outer += select(vec4<f32>(), shares, is_objective);
        }
    }
    if frame.wants_split != 0u {
        choose_split(inner, outer, local);
    }
    return n_undecided;
}

// Centre, radius and magnitude of an affine node's operand.
fn store_balls(place: u32, local: u32) {
    let source = affines[place].source;
    let n = affines[place].n_in;
    for (var i = local; i < n; i += SIZE) {
        slot[i] = vec4<f32>(ball_of(state[source + i], state[source + n + i]), 0.0);
    }
}

// As `interval_dense`, one output at a time, over the live operands: the others are zero.
fn bound_affine(step: FusedStep, local: u32) {
    let affine = affines[step.params];
    let count = select(lists[step.list], affine.n_in, step.list == 0u);
    let weights = affine.transposed;
    for (var output = local; output < affine.n_out; output += SIZE) {
        var centre = 0.0;
        var radius = 0.0;
        var magnitude = 0.0;
        var operand = 0.0;
        for (var e = 0u; e < count; e++) {
            let i = lists[step.list + 1u + e];
            let ball = slot[i];
            let weight = constant(weights + i * affine.n_out + output);
            centre += weight * ball.x;
            radius += abs(weight) * ball.y;
            magnitude += abs(weight) * ball.z;
            operand += ball.z;
        }
        let end = affine_end(affine, output, centre, radius, magnitude, operand);
        state[affine.target_ + output] = end.x;
        state[affine.target_ + affine.n_out + output] = end.y;
        state[affine.error + output] = end.z;
    }
}

// As `relax`; a neuron is live unless its interval and its lines are zero, which leaves nothing of whatever coefficient arrives.
fn bound_activation(place: u32, half: u32, local: u32) {
    activation = activations[place];
    let n = activation.n;
    for (var j = local; j < n; j += SIZE) {
        let l = state[activation.source + j];
        let u = state[activation.source + n + j];
        let r = relaxed(l, u, j);
        let error = line_error(r, l, u);
        let line = activation.lines + j;
        state[line] = r.low;
        state[line + n] = r.low_at;
        state[line + 2u * n] = r.up;
        state[line + 3u * n] = r.up_at;
        state[line + 4u * n] = error;
        state[activation.target_ + j] = r.lower;
        state[activation.target_ + n + j] = r.upper;
        // By the bits: whatever is not a number is live, and spoils what it must.
        let line_bits = bitcast<u32>(r.low) | bitcast<u32>(r.low_at) | bitcast<u32>(r.up) | bitcast<u32>(r.up_at);
        let bits = line_bits | bitcast<u32>(error) | bitcast<u32>(r.lower) | bitcast<u32>(r.upper);
        if (bits & 0x7fffffffu) != 0u {
            atomicOr(&mask[half + j / 32u], 1u << (j % 32u));
        }
    }
}

fn mark_undecided(place: u32, half: u32, local: u32) {
    let rule = passes[place].choice;
    for (var j = local; j < rule.n; j += SIZE) {
        if is_undecided(rule, state[rule.source + j], state[rule.source + rule.n + j]) {
            atomicOr(&mask[half + j / 32u], 1u << (j % 32u));
        }
    }
}

// Turns the marked neurons into a list.
fn write_list(step: FusedStep, half: u32, local: u32) {
    var count = 0u;
    for (var w = 0u; 32u * w < step.n; w++) {
        count += countOneBits(atomicLoad(&mask[half + w]));
    }
    for (var j = local; j < step.n; j += SIZE) {
        let own = atomicLoad(&mask[half + j / 32u]);
        if ((own >> (j % 32u)) & 1u) == 0u {
            continue;
        }
        var place = countOneBits(own & ((1u << (j % 32u)) - 1u));
        for (var w = 0u; w < j / 32u; w++) {
            place += countOneBits(atomicLoad(&mask[half + w]));
        }
        lists[step.list + 1u + place] = j;
    }
    if local == 0u {
        lists[step.list] = count;
    }
    // Four at a time: neuron `n` has no coefficients and a row of zeros in every matrix.
    for (var e = count + local; e < (count + 3u) / 4u * 4u; e += SIZE) {
        lists[step.list + 1u + e] = step.n;
    }
}

// Walks a chunk of rows back to the input. Returns the shares of the owner's inputs in these rows (see `split_score`).
fn walk(place: u32, chunk: Chunk, subdomain: u32, local: u32) -> vec4<f32> {
    let tile = 2u * (local / QUADS);
    let owner = local % QUADS;
    let first_row = chunk.first_row + 4u * tile;
    let is_active = first_row < chunk.n_rows;
    var sums_a: Sums;
    var sums_b: Sums;
    var pair: Pair;
    if is_active {
        pair.a = first_coefficients(place, chunk, first_row, owner, &sums_a);
        pair.b = first_coefficients(place, chunk, first_row + 4u, owner, &sums_b);
    }
    for (var s = 0u; s < passes[place].n_stages; s++) {
        let stage = stages[passes[place].first_stage + s];
        if is_active {
            pair = cross_stage(stage, pair, owner, &sums_a, &sums_b);
        }
        if stage.bias == NONE {
            break;
        }
        if is_active {
            store_four(pair.a, owner, tile);
            store_four(pair.b, owner, tile + 1u);
        }
        workgroupBarrier();
        if is_active {
            pair = product(stage, tile, owner);
        }
        workgroupBarrier();
    }
    if is_active {
        store_partial(place, pair.a, sums_a, owner, tile);
        store_partial(place, pair.b, sums_b, owner, tile + 1u);
    }
    workgroupBarrier();
    for (var r = local; r < 4u * TILES; r += SIZE) {
        if chunk.first_row + r < chunk.n_rows {
            end_row(place, chunk, r);
        } else {
            inverse[r] = 0.0;
        }
    }
    workgroupBarrier();
    var shares = vec4<f32>();
    if is_active {
        if frame.wants_slopes != 0u && passes[place].is_objective != 0u {
            store_slopes(pair.a, owner, first_row, subdomain);
            store_slopes(pair.b, owner, first_row + 4u, subdomain);
        }
        shares = shares_of(pair.a, owner, tile) + shares_of(pair.b, owner, tile + 1u);
    }
    return shares;
}

fn store_four(a: Four, owner: u32, tile: u32) {
    slot[owner * STRIDE + tile] = a.c0;
    slot[(owner + QUADS) * STRIDE + tile] = a.c1;
    slot[(owner + 2u * QUADS) * STRIDE + tile] = a.c2;
    slot[(owner + 3u * QUADS) * STRIDE + tile] = a.c3;
}

// An owner's part of its tile's bounds, slacks and totals, at the input.
fn store_partial(place: u32, a: Four, sums: Sums, owner: u32, tile: u32) {
    var value: Sums;
    var total = vec4<f32>();
    arrive(a.c0, owner, &value, &total);
    arrive(a.c1, owner + QUADS, &value, &total);
    arrive(a.c2, owner + 2u * QUADS, &value, &total);
    arrive(a.c3, owner + 3u * QUADS, &value, &total);
    slot[owner * TILES + tile] = sums.bias + opaque(value.bias);
    slot[(QUADS + owner) * TILES + tile] = sums.slack + passes[place].end.gamma * value.slack;
    slot[(2u * QUADS + owner) * TILES + tile] = total;
}

fn shares_of(a: Four, owner: u32, tile: u32) -> vec4<f32> {
    let i = 4u * tile;
    let weight = vec4<f32>(inverse[i], inverse[i + 1u], inverse[i + 2u], inverse[i + 3u]);
    return vec4<f32>(
        share(a.c0, owner, weight),
        share(a.c1, owner + QUADS, weight),
        share(a.c2, owner + 2u * QUADS, weight),
        share(a.c3, owner + 3u * QUADS, weight),
    );
}

// As `seed`.
fn first_coefficients(place: u32, chunk: Chunk, first_row: u32, owner: u32, sums: ptr<function, Sums>) -> Four {
    let seed = passes[place].seed;
    var sign_ = vec4<f32>();
    var neuron = vec4<u32>();
    for (var r = 0u; r < 4u; r++) {
        if first_row + r < chunk.n_rows {
            sign_[r] = chunk_sign(chunk, first_row + r);
            neuron[r] = chunk_neuron(chunk, first_row + r);
        } else {
            neuron[r] = neuron[0];
        }
    }
    if owner == 0u {
        (*sums).slack = vec4<f32>(seed.underflow);
        if seed.kind == 1u {
            for (var r = 0u; r < 4u; r++) {
                let b = constant(seed.bias + neuron[r]);
                (*sums).bias[r] = sign_[r] * b;
                (*sums).slack[r] += seed.gamma_bias * abs(b);
                if seed.is_inexact != 0u {
                    (*sums).slack[r] += state[seed.error + neuron[r]];
                }
            }
        }
    }
    return Four(
        first_coefficient(seed, owner, sign_, neuron),
        first_coefficient(seed, owner + QUADS, sign_, neuron),
        first_coefficient(seed, owner + 2u * QUADS, sign_, neuron),
        first_coefficient(seed, owner + 3u * QUADS, sign_, neuron),
    );
}

fn first_coefficient(seed: Seed, j: u32, sign_: vec4<f32>, neuron: vec4<u32>) -> vec4<f32> {
    if j >= seed.n {
        return vec4<f32>();
    }
    if seed.kind == 0u {
        return select(vec4<f32>(), sign_, neuron == vec4<u32>(j));
    }
    let row = seed.weight + neuron * seed.n + j;
    return sign_ * vec4<f32>(constant(row.x), constant(row.y), constant(row.z), constant(row.w));
}

// As `back_lines` and `affine_terms`.
fn cross_stage(
    stage: FusedStage,
    pair: Pair,
    owner: u32,
    sums_a: ptr<function, Sums>,
    sums_b: ptr<function, Sums>,
) -> Pair {
    // Summed apart, so that no term meets more roundings than its node has neurons and the walk has nodes.
    var part_a: Sums;
    var part_b: Sums;
    let c0 = cross_neuron(stage, Eight(pair.a.c0, pair.b.c0), owner, &part_a, &part_b);
    let c1 = cross_neuron(stage, Eight(pair.a.c1, pair.b.c1), owner + QUADS, &part_a, &part_b);
    let c2 = cross_neuron(stage, Eight(pair.a.c2, pair.b.c2), owner + 2u * QUADS, &part_a, &part_b);
    let c3 = cross_neuron(stage, Eight(pair.a.c3, pair.b.c3), owner + 3u * QUADS, &part_a, &part_b);
    add_sums(sums_a, part_a);
    add_sums(sums_b, part_b);
    if stage.bias != NONE {
        var terms_a: Sums;
        var terms_b: Sums;
        add_neuron(stage, c0, owner, &terms_a, &terms_b);
        add_neuron(stage, c1, owner + QUADS, &terms_a, &terms_b);
        add_neuron(stage, c2, owner + 2u * QUADS, &terms_a, &terms_b);
        add_neuron(stage, c3, owner + 3u * QUADS, &terms_a, &terms_b);
        add_sums(sums_a, terms_a);
        add_sums(sums_b, terms_b);
    }
    return Pair(Four(c0.a, c1.a, c2.a, c3.a), Four(c0.b, c1.b, c2.b, c3.b));
}

// A value that a compiler cannot see through: WGSL lets it regroup sums, and the bias's error bound counts on these groups. (The
// slack's covers any order.)
fn opaque(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) ^ vec4<u32>(frame.zero));
}

fn add_sums(sums: ptr<function, Sums>, part: Sums) {
    (*sums).bias += opaque(part.bias);
    (*sums).slack += part.slack;
}

fn cross_neuron(
    stage: FusedStage,
    rows: Eight,
    j: u32,
    part_a: ptr<function, Sums>,
    part_b: ptr<function, Sums>,
) -> Eight {
    if stage.lines == NONE || j >= stage.n {
        return rows;
    }
    let at = stage.lines + j;
    let n = stage.n;
    let line = Line(state[at], state[at + n], state[at + 2u * n], state[at + 3u * n], state[at + 4u * n]);
    return Eight(cross_line(rows.a, line, part_a), cross_line(rows.b, line, part_b));
}

fn add_neuron(stage: FusedStage, rows: Eight, k: u32, part_a: ptr<function, Sums>, part_b: ptr<function, Sums>) {
    if k < stage.n {
        let bias = constant(stage.bias + k);
        let error = state[stage.error + k];
        add_terms(rows.a, bias, error, part_a);
        add_terms(rows.b, bias, error, part_b);
    }
}

// As `back_dense`, for the four columns of an owner.
fn product(stage: FusedStage, tile: u32, owner: u32) -> Pair {
    let count = select(lists[stage.list], stage.n, stage.list == 0u);
    let end = stage.list + 1u + count;
    var a: Four;
    var b: Four;
    if stage.n_columns == 1u {
        let weight = 4u * stage.weight + owner;
        for (var e = stage.list + 1u; e < end; e += 4u) {
            for (var c = 0u; c < 4u; c++) {
                let k = lists[e + c];
                let w = constant(weight + k * QUADS);
                a.c0 += slot[k * STRIDE + tile] * w;
                b.c0 += slot[k * STRIDE + tile + 1u] * w;
            }
        }
        return Pair(a, b);
    }
    let weight = stage.weight + owner;
    for (var e = stage.list + 1u; e < end; e += 4u) {
        let k0 = lists[e];
        let k1 = lists[e + 1u];
        let k2 = lists[e + 2u];
        let k3 = lists[e + 3u];
        let w0 = constants[weight + k0 * QUADS];
        let w1 = constants[weight + k1 * QUADS];
        let w2 = constants[weight + k2 * QUADS];
        let w3 = constants[weight + k3 * QUADS];
        let at0 = k0 * STRIDE + tile;
        let at1 = k1 * STRIDE + tile;
        let at2 = k2 * STRIDE + tile;
        let at3 = k3 * STRIDE + tile;
        add_products(&a, slot[at0], slot[at1], slot[at2], slot[at3], w0, w1, w2, w3);
        add_products(&b, slot[at0 + 1u], slot[at1 + 1u], slot[at2 + 1u], slot[at3 + 1u], w0, w1, w2, w3);
    }
    return Pair(a, b);
}

// Four rows at four outputs, into four columns.
fn add_products(
    sum: ptr<function, Four>,
    a0: vec4<f32>,
    a1: vec4<f32>,
    a2: vec4<f32>,
    a3: vec4<f32>,
    w0: vec4<f32>,
    w1: vec4<f32>,
    w2: vec4<f32>,
    w3: vec4<f32>,
) {
    (*sum).c0 = (*sum).c0 + a0 * w0.x + a1 * w1.x + a2 * w2.x + a3 * w3.x;
    (*sum).c1 = (*sum).c1 + a0 * w0.y + a1 * w1.y + a2 * w2.y + a3 * w3.y;
    (*sum).c2 = (*sum).c2 + a0 * w0.z + a1 * w1.z + a2 * w2.z + a3 * w3.z;
    (*sum).c3 = (*sum).c3 + a0 * w0.w + a1 * w1.w + a2 * w2.w + a3 * w3.w;
}

// One coefficient at its input: see `concretize` and `split_share`.
fn arrive(a: vec4<f32>, i: u32, value: ptr<function, Sums>, total: ptr<function, vec4<f32>>) {
    if i < frame.n_inputs {
        let lower = state[i];
        let upper = state[frame.n_inputs + i];
        let end = end_at_input(a, lower, upper);
        (*value).bias += end.bias;
        (*value).slack += end.slack;
        *total += abs(a) * (upper - lower);
    }
}

// Sum of one quantity of row `r` of the chunk over its owners.
fn sum_owners(quantity: u32, r: u32) -> f32 {
    let first = quantity * QUADS * TILES + r / 4u;
    var sum = vec4<f32>();
    for (var q = 0u; q < QUADS; q += 4u) {
        for (var c = 0u; c < 4u; c++) {
            if q + c < QUADS {
                sum[c] += slot[first + (q + c) * TILES][r % 4u];
            }
        }
    }
    let parts = opaque(sum);
    return (parts.x + parts.y) + (parts.z + parts.w);
}

// The end of `concretize`: a refinement stores the row's bound in its node's bounds, the objective in the result.
fn end_row(place: u32, chunk: Chunk, r: u32) {
    let end = passes[place].end;
    let row = chunk.first_row + r;
    let slack = end.inflation * sum_owners(1u, r);
    let bound = sum_owners(0u, r) - slack;
    inverse[r] = inverse_total(sum_owners(2u, r));
    let is_used = is_usable(bound, slack);
    if passes[place].is_objective != 0u {
        state[frame.result + row] = select(-HUGE, bound, is_used);
        state[frame.result + frame.n_rows + row] = select(HUGE, slack, is_used);
        return;
    }
    if !is_used {
        return;
    }
    let lower = end.target_ + chunk_neuron(chunk, row);
    let upper = lower + end.target_len;
    if chunk_sign(chunk, row) > 0.0 {
        state[lower] = select(bound, max(state[lower], bound), end.keep_interval != 0u);
    } else {
        state[upper] = select(-bound, min(state[upper], -bound), end.keep_interval != 0u);
    }
}

fn share(a: vec4<f32>, i: u32, weight: vec4<f32>) -> f32 {
    if i >= frame.n_inputs {
        return 0.0;
    }
    let score = dot(abs(a), weight) * (state[frame.n_inputs + i] - state[i]);
    return select(0.0, score, is_finite(score));
}

// As `split_choice`, from the shares that each owner has of its inputs.
fn choose_split(inner: vec4<f32>, outer: vec4<f32>, local: u32) {
    let n = frame.n_inputs;
    slot[local] = inner;
    slot[SIZE + local] = outer;
    workgroupBarrier();
    for (var i = local; i < n; i += SIZE) {
        var score = vec2<f32>();
        for (var owner = i % QUADS; owner < SIZE; owner += QUADS) {
            score += vec2<f32>(slot[owner][i / QUADS], slot[SIZE + owner][i / QUADS]);
        }
        slot[2u * SIZE + i] = vec4<f32>(score, 0.0, 0.0);
    }
    workgroupBarrier();
    if local == 0u {
        var total = vec2<f32>();
        for (var i = 0u; i < n; i++) {
            total += slot[2u * SIZE + i].xy;
        }
        let weight = vec2<f32>(INNER_WEIGHT, 1.0) / (total + LEAST_TOTAL);
        var best = 0.0;
        chosen = 0u;
        for (var i = 0u; i < n; i++) {
            let score = dot(slot[2u * SIZE + i].xy, weight);
            if is_finite(score) && score > best {
                best = score;
                chosen = i;
            }
        }
    }
    workgroupBarrier();
}
