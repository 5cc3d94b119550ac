// The end of a walk over a set of similar images, after the end at the box: improves the bounds that `concretize` has stored.
//
// For any vector `s`, min A x ≥ min_box (A - s) x + min_set s x. The set lies in the convex hull of finitely many balls
// `mean 1 + quotient r0 + Ball(radius)` (the host's `Slices::balls`, exact in f32), so that with S = Σ s_i, D = <s, r0>, N ≥ |s - t 1|
//   min_set s x ≥ min over the balls of (mean S + quotient D - radius N).
// First s = A, then a few steps of the dual: what is thought to be the minimiser, x = clamp(c - (A - t) reach) with
// c = mean + quotient r0, gives s = A where x is free and (c - x) / reach + t where the box holds it; mean, t and reach move towards what
// the step finds, as on the host. The best bound counts. Nothing has to converge: every s is sound.
//
// Errors, with u = 2^-23 for either neighbour, g = `gamma` ≥ 1.02 γ_{n+32} (sums of n terms in any order; what is left of the index pays for
// the few operations around each sum, and 2 % for turning relative to absolute), sums as computed:
//   s            is one number for all that read it: its last bit is cleared through integers, and so is t's. Where its exponent is 40 or more, or
//                it is no number, s = A; a row with such an A, or such a t, stays as it is, as do all rows over a box with such an end. So no square or sum overflows (n ≤ 2^16).
//   box          W = Σ min(d l, d u), d = fl(A - s): off by at most g Σ |d| max(|l|, |u|).
//   S            = Σ (s - t) + n t: off by g Σ|s - t| + 8u n |t|, and Σ|s - t| ≤ √(n Q), Q = Σ (s - t)².
//   D            = Σ s c with c = fl(r0), |c - r0| ≤ u/2 |c| + 2e-15: off by g Σ |s c| + 2e-15 Σ|s|, and Σ|s| ≤ √(n Q) + n |t|.
//   N²           = Q - (Σ (s - t))² / n in real numbers. Q is off by g Q; |Σ (s - t)| ≤ √(n Q) is off by g √(n Q), so the second
//                term by 2g Q + g² Q and a few u Q: 4g Q in all. Q + 2g Q does as well. Flushed squares: 1e-30 more, here and in √(n Q).
//   square root  whatever y > 0 sqrt returns, (y + x / y) / 2 ≥ √x; division 2.5u, the rest 2u: times 1 + 16u.
//   ball         mean S + quotient D - radius N: 8u times the sum of its terms' magnitudes. The errors of S and D count by the largest mean and
//                quotient of the table.
//   end          16u times the magnitudes of what is added; flushed subnormals `underflow`. The slack of the walk and of the coefficients is
//                that of `concretize`: it holds at every point of the box.
//
// Workgroup: one tile (four rows), 64 lanes along the inputs and the balls. The workgroups of eight tiles lie along y.

//#import shared/params
//#import shared/frame
//#import shared/constants
//#import shared/tiles
//#import shared/reach
//#import shared/steps

struct Ends {
    end: Concretize,
    balls: SsimBalls,
}

@group(0) @binding(0) var<uniform> params: Ends;

const TILES: u32 = 8u;
const LANES: u32 = 64u;
// Sums of a step.
const OVER_BOX: u32 = 0u;
const BOX_MAGNITUDE: u32 = 1u;
const DEVIATION: u32 = 2u;
const SQUARE: u32 = 3u;
const PRODUCT: u32 = 4u;
const PRODUCT_MAGNITUDE: u32 = 5u;
const POINT: u32 = 6u;
const CLAMPED: u32 = 7u;
const FREE: u32 = 8u;
const N_FREE: u32 = 9u;
const N_SUMS: u32 = 10u;
// Sums of the first pass.
const TOTAL: u32 = 0u;
const MAGNITUDE: u32 = 1u;
const N_LARGE: u32 = 2u;

// What the minimiser is thought to be, per row.
struct Guess {
    mean: vec4<f32>,
    quotient: vec4<f32>,
    offset: vec4<f32>,
    reach: vec4<f32>,
    steepness: vec4<f32>,
}

// What the set bounds.
struct Moments {
    sum: vec4<f32>,
    product: vec4<f32>,
    norm: vec4<f32>,
}

// What leads from guess to guess; only lane 0 keeps it.
struct Memory {
    pace: vec4<f32>,
    last_move: vec4<f32>,
    last_offset: vec4<f32>,
    last_residual: vec4<f32>,
}

var<workgroup> partial: array<array<vec4<f32>, 10>, 64>;
var<workgroup> least_values: array<vec4<f32>, 64>;
var<workgroup> least_balls: array<vec4<u32>, 64>;
var<workgroup> guess: Guess;
var<workgroup> moments: Moments;

// By the exponent, as nothing may be concluded from comparisons.
fn is_small(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) < vec4<u32>((127u + 40u) << 23u);
}

// One number, for all that read it.
fn settled(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) & vec4<u32>(0xfffffffeu));
}

// At least the square root.
fn root_above(x: vec4<f32>) -> vec4<f32> {
    let y = max(sqrt(x), vec4<f32>(1e-18));
    return 0.5 * (y + x / y) * (1.0 + 16.0 * UNIT);
}

// The coefficients of an input, zero where none is stored.
fn coefficient_at(slot: u32, n_tiles: u32, reach: Reach, i: u32) -> vec4<f32> {
    if is_reached(reach, i) {
        return coefficients[slot + i * n_tiles];
    }
    return vec4<f32>();
}

// Leaves the sums over the lanes in `partial[0]`.
fn sum_up(lane: u32, sums: array<vec4<f32>, 10>) {
    workgroupBarrier();
    partial[lane] = sums;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if lane < step {
            for (var k = 0u; k < N_SUMS; k++) {
                partial[lane][k] += partial[lane + step][k];
            }
        }
    }
    workgroupBarrier();
}

// Leaves the least value over the balls in `least_values[0]`, and which ball has it.
fn least_over_balls(lane: u32) {
    workgroupBarrier();
    var least = vec4<f32>(HUGE);
    var which = vec4<u32>();
    for (var b = lane; b < params.balls.n_balls; b += LANES) {
        let place = params.balls.balls + 3u * b;
        let line = constant(place) * moments.sum;
        let along = constant(place + 1u) * moments.product;
        let across = constant(place + 2u) * moments.norm;
        let value = (line + along - across) - 8.0 * UNIT * (abs(line) + abs(along) + abs(across));
        let is_less = value < least;
        least = select(least, value, is_less);
        which = select(which, vec4<u32>(b), is_less);
    }
    least_values[lane] = least;
    least_balls[lane] = which;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if lane < step {
            let is_less = least_values[lane + step] < least_values[lane];
            least_values[lane] = select(least_values[lane], least_values[lane + step], is_less);
            least_balls[lane] = select(least_balls[lane], least_balls[lane + step], is_less);
        }
    }
    workgroupBarrier();
}

// The ball of a mean, about: quotient and radius.
fn ball_at(mean: vec4<f32>) -> array<vec4<f32>, 2> {
    // 1e-4 is C1.
    let luminance = (2.0 * mean * params.balls.mean + 1e-4) / (mean * mean + params.balls.mean * params.balls.mean + 1e-4);
    let quotient = max(luminance * params.balls.inverse_threshold, vec4<f32>(1.0));
    let square = (quotient - 1.0) * (params.balls.energy * (quotient + 1.0) + params.balls.contrast);
    return array<vec4<f32>, 2>(quotient, sqrt(max(square, vec4<f32>())));
}

fn mean_of_least() -> vec4<f32> {
    let which = least_balls[0];
    var mean = vec4<f32>();
    for (var r = 0u; r < 4u; r++) {
        mean[r] = constant(params.balls.balls + 3u * which[r]);
    }
    return clamp(mean, vec4<f32>(params.balls.from_), vec4<f32>(params.balls.to));
}

// Moves the guess towards what the step found; lane 0 only.
fn improve(memory: ptr<function, Memory>, step: u32) {
    let n = f32(params.end.n);
    let mean = mean_of_least();
    if step == 0u {
        let ball = ball_at(mean);
        let reach = ball[1] / moments.norm;
        guess.mean = mean;
        guess.quotient = ball[0];
        guess.reach = select(vec4<f32>(1e-6), reach, is_small(reach) & (reach > vec4<f32>()));
        guess.steepness = 1.0 / guess.reach;
        return;
    }
    let wanted = mean - guess.mean;
    let swings = wanted * (*memory).last_move < vec4<f32>();
    let slower = max(0.5 * (*memory).pace, vec4<f32>(0.05));
    (*memory).pace = select(min(1.2 * (*memory).pace, vec4<f32>(1.0)), slower, swings);
    (*memory).last_move = wanted;
    let next = guess.mean + (*memory).pace * wanted;
    let ball = ball_at(next);
    let residual = n * next - partial[0][POINT];
    let plain = guess.reach * max(partial[0][N_FREE], vec4<f32>(1.0));
    let turn = guess.offset - (*memory).last_offset;
    let secant = ((*memory).last_residual - residual) / turn;
    let is_secant = vec4<bool>(step > 1u) & (abs(turn) > vec4<f32>(1e-30)) & (secant > plain);
    let slope = select(plain, min(secant, 30.0 * plain), is_secant);
    (*memory).last_offset = guess.offset;
    (*memory).last_residual = residual;
    let offset = settled(guess.offset + residual / slope);
    let left = ball[1] * ball[1] - partial[0][CLAMPED];
    let can_reach = (left > vec4<f32>()) & (partial[0][FREE] > vec4<f32>());
    let reach = select(0.7 * guess.reach, sqrt(left / partial[0][FREE]), can_reach);
    let is_usable = is_small(offset) & is_small(reach) & (reach > vec4<f32>(1e-12));
    guess.mean = select(guess.mean, next, is_usable);
    guess.quotient = select(guess.quotient, ball[0], is_usable);
    guess.offset = select(guess.offset, offset, is_usable);
    guess.reach = select(guess.reach, reach, is_usable);
    guess.steepness = 1.0 / guess.reach;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = workgroup.x * TILES + workgroup.y;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    let place = select(0u, index, is_inside);
    // Nothing to sum for a tile that is not there.
    let n = select(0u, params.end.n, is_inside);
    let lower = book[frame.owners + frame.first_tile + place] * frame.state_stride;
    let upper = lower + params.end.n;
    let slot = params.end.slot * frame.slot_size + place;
    let reach = load_reach(params.end.slot, place);
    let inputs = f32(params.end.n);

    // The mean, the slack of the box, and whether all is small.
    var sums = array<vec4<f32>, 10>();
    for (var i = lane; i < n; i += LANES) {
        let a = coefficient_at(slot, n_tiles, reach, i);
        sums[TOTAL] += a;
        let low = state[lower + i];
        let high = state[upper + i];
        sums[MAGNITUDE] += abs(a) * max(abs(low), abs(high));
        let is_tame = is_small(a) & vec4<bool>(all(is_small(vec4<f32>(low, high, 0.0, 0.0))));
        sums[N_LARGE] += select(vec4<f32>(1.0), vec4<f32>(), is_tame);
    }
    sum_up(lane, sums);
    var slack = vec4<f32>();
    var is_tame = vec4<bool>();
    if lane == 0u {
        slack = params.end.inflation * (rows[frame.tile_capacity + place] + params.end.gamma * partial[0][MAGNITUDE]);
        let offset = settled(partial[0][TOTAL] / inputs);
        is_tame = (partial[0][N_LARGE] == vec4<f32>()) & is_small(offset);
        guess.offset = select(vec4<f32>(), offset, is_tame);
        guess.mean = vec4<f32>();
        guess.quotient = vec4<f32>();
        guess.reach = vec4<f32>();
        guess.steepness = vec4<f32>();
    }
    workgroupBarrier();

    var memory = Memory(vec4<f32>(1.0), vec4<f32>(), vec4<f32>(), vec4<f32>());
    var best = vec4<f32>(-HUGE);
    var best_slack = vec4<f32>();
    for (var step = 0u; step <= params.balls.n_steps; step++) {
        let is_first = step == 0u;
        sums = array<vec4<f32>, 10>();
        for (var i = lane; i < n; i += LANES) {
            let a = coefficient_at(slot, n_tiles, reach, i);
            let c = constant(params.balls.centred + i);
            let low = state[lower + i];
            let high = state[upper + i];
            let centre = guess.mean + guess.quotient * c;
            let wanted = centre - (a - guess.offset) * guess.reach;
            let x = min(max(wanted, vec4<f32>(low)), vec4<f32>(high));
            let is_free = vec4<bool>(is_first) | ((wanted >= vec4<f32>(low)) & (wanted <= vec4<f32>(high)));
            let pulled = settled((centre - x) * guess.steepness + guess.offset);
            let s = select(a, pulled, !is_free & is_small(pulled));
            let rest = a - s;
            let away = s - guess.offset;
            let from_centre = x - centre;
            let flat = a - guess.offset;
            sums[OVER_BOX] += min(rest * low, rest * high);
            sums[BOX_MAGNITUDE] += abs(rest) * max(abs(low), abs(high));
            sums[DEVIATION] += away;
            sums[SQUARE] += away * away;
            sums[PRODUCT] += s * c;
            sums[PRODUCT_MAGNITUDE] += abs(s) * abs(c);
            sums[POINT] += x;
            sums[CLAMPED] += select(from_centre * from_centre, vec4<f32>(), is_free);
            sums[FREE] += select(vec4<f32>(), flat * flat, is_free);
            sums[N_FREE] += select(vec4<f32>(), vec4<f32>(1.0), is_free);
        }
        sum_up(lane, sums);
        var doubt = vec4<f32>();
        if lane == 0u {
            let gamma = params.balls.gamma;
            let square = partial[0][SQUARE];
            let deviation = partial[0][DEVIATION];
            let spread = root_above(inputs * (square + 1e-30));
            let shift = inputs * abs(guess.offset);
            let central = max(square - deviation * deviation / inputs, vec4<f32>()) + 4.0 * gamma * square;
            moments.norm = root_above(min(square + 2.0 * gamma * square, central) + 1e-30);
            moments.sum = deviation + inputs * guess.offset;
            moments.product = partial[0][PRODUCT];
            doubt = params.balls.most_mean * (gamma * spread + 8.0 * UNIT * shift)
                + params.balls.most_quotient * (gamma * partial[0][PRODUCT_MAGNITUDE] + 1e-14 * (spread + shift))
                + gamma * partial[0][BOX_MAGNITUDE] + params.balls.underflow;
        }
        least_over_balls(lane);
        if lane == 0u {
            let least = least_values[0];
            let over_box = partial[0][OVER_BOX];
            let bias = rows[place];
            let lost = doubt + 16.0 * UNIT * (abs(least) + abs(over_box) + abs(bias) + doubt + slack);
            let bound = ((least + over_box) + bias) - (lost + slack);
            // No ball has that much: a value that compares with nothing would have left it.
            let is_better = is_tame & (least < vec4<f32>(0.5 * HUGE)) & (bound > best);
            best = select(best, bound, is_better);
            best_slack = select(best_slack, lost + slack, is_better);
            if step < params.balls.n_steps {
                improve(&memory, step);
            }
        }
        workgroupBarrier();
    }
    if lane != 0u || !is_inside {
        return;
    }
    let tile = tile_at(index);
    for (var r = 0u; r < 4u; r++) {
        if is_row(tile, r) && is_tame[r] && is_usable(best[r], best_slack[r]) {
            improve_row(tile, r, best[r], best_slack[r]);
        }
    }
}

// Stores a bound where it is better than what is there.
fn improve_row(tile: Tile, r: u32, bound: f32, slack: f32) {
    if frame.is_objective != 0u {
        let row = tile.subdomain * tile.n_rows + tile.first_row + r;
        if bound > bitcast<f32>(exchange[frame.lower + row]) {
            exchange[frame.lower + row] = bitcast<u32>(bound);
            exchange[frame.slack + row] = bitcast<u32>(slack);
        }
        return;
    }
    let lower = tile.subdomain * frame.state_stride + params.end.target_ + row_neuron(tile, r);
    let upper = lower + params.end.target_len;
    if row_sign(tile, r) > 0.0 {
        state[lower] = max(state[lower], bound);
    } else {
        state[upper] = min(state[upper], -bound);
    }
}
