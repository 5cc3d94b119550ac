// One round of branch and bound by input splits: bounds every open box, drops those that exclude every disjunct, hands back those
// that only slack leaves open or that no float splits, and replaces each of the others by two halves that cover it exactly.
//
// One workgroup: one open box. Between rounds `advance` counts. No box is lost: `advance` starts a round only if the ring has room
// for both halves of every box and the doubtful list for every box.
//
// Pool: a ring of `capacity` boxes, the doubtful boxes, and the rule. A box: lower ends, upper ends, depth, the score of whoever was
// bounded last (the box, if it is doubtful, else its parent), and the input to split at.
// The rule: per disjunct the first of its rows and the one behind its last. A disjunct is excluded if a row's bound is positive.

//#import shared/crown

// Words of the counters: `shared/counters`.
//#import shared/counters

@group(0) @binding(7) var<storage, read_write> pool: array<u32>;
@group(0) @binding(8) var<storage, read_write> counters: array<atomic<u32>>;

const DECIDED: u32 = 0u;
const DOUBTFUL: u32 = 1u;
const SPLIT: u32 = 2u;
const NO_INPUT: u32 = 0xffffffffu;

var<workgroup> n_running: u32;
var<workgroup> fate: u32;
// Where the box goes: its place among the doubtful, or the left half's and the right half's in the ring.
var<workgroup> place_left: u32;
var<workgroup> place_right: u32;
var<workgroup> dimension: u32;
// The float where the box is cut, by its bits: both halves get the same.
var<workgroup> cut: u32;
var<workgroup> score: u32;

fn store_slopes(a: Four, owner: u32, first_row: u32, subdomain: u32) {
}

fn stride() -> u32 {
    return 2u * frame.n_inputs + 3u;
}

// A float strictly between the ends of an input, about half way, by its bits; the ends' own bits if there is none.
fn middle(i: u32) -> u32 {
    let low = state[i];
    let high = state[frame.n_inputs + i];
    let between = 0.5 * low + 0.5 * high;
    return select(bitcast<u32>(low), bitcast<u32>(between), low < between && between < high);
}

fn can_split(i: u32) -> bool {
    return middle(i) != bitcast<u32>(state[i]);
}

// The input to split at: the chosen one, or the widest, the first of equals, if any can be split.
fn splittable() -> u32 {
    if can_split(chosen) {
        return chosen;
    }
    var best = NO_INPUT;
    var best_width = 0.0;
    for (var i = 0u; i < frame.n_inputs; i++) {
        let width = state[frame.n_inputs + i] - state[i];
        if can_split(i) && (best == NO_INPUT || width > best_width) {
            best = i;
            best_width = width;
        }
    }
    return best;
}

// How far the worst disjunct is from being excluded, and the same before slack: all are where it is positive.
fn judge() -> vec2<f32> {
    let first = atomicLoad(&counters[RULE]);
    let n = atomicLoad(&counters[N_DISJUNCTS]);
    var worst = vec2<f32>(HUGE);
    for (var d = 0u; d < n; d++) {
        var best = vec2<f32>(-HUGE);
        let end = pool[first + 2u * d + 1u];
        for (var row = pool[first + 2u * d]; row < end; row++) {
            // A bound that is no number excludes nothing.
            let stored = state[frame.result + row];
            let bound = select(-HUGE, stored, is_finite(stored));
            best = max(best, vec2<f32>(bound, bound + state[frame.result + frame.n_rows + row]));
        }
        worst = min(worst, best);
    }
    return worst;
}

fn add_wide(low: u32, value: u32) {
    let before = atomicAdd(&counters[low], value);
    if before + value < before {
        atomicAdd(&counters[low + 1u], 1u);
    }
}

fn decide_fate(depth: u32, n_undecided: u32) {
    add_wide(UNDECIDED, n_undecided);
    let worst = judge();
    score = bitcast<u32>(worst.x);
    dimension = chosen;
    if worst.x > 0.0 {
        fate = DECIDED;
        atomicAdd(&counters[DEPTHS + min(depth, N_DEPTHS - 1u)], 1u);
        // Positive floats are ordered as their bits are.
        atomicMin(&counters[LEAST], score);
        return;
    }
    let input = splittable();
    if worst.y > 0.0 || input == NO_INPUT {
        fate = DOUBTFUL;
        place_left = atomicLoad(&counters[DOUBTFUL_START]) + atomicAdd(&counters[N_DOUBTFUL], 1u) * stride();
        return;
    }
    fate = SPLIT;
    dimension = input;
    cut = middle(input);
    let capacity = atomicLoad(&counters[CAPACITY]);
    let place = atomicLoad(&counters[HEAD]) + atomicLoad(&counters[N_RUNNING]) + atomicAdd(&counters[N_NEXT], 2u);
    place_left = (place % capacity) * stride();
    place_right = ((place + 1u) % capacity) * stride();
}

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 1u, 0u);
    if local == 0u {
        n_running = atomicLoad(&counters[N_RUNNING]);
    }
    let n_boxes = workgroupUniformLoad(&n_running);
    if index >= n_boxes {
        return;
    }
    let start = ((atomicLoad(&counters[HEAD]) + index) % atomicLoad(&counters[CAPACITY])) * stride();
    let n = frame.n_inputs;
    for (var e = local; e < 2u * n; e += SIZE) {
        state[e] = bitcast<f32>(pool[start + e]);
    }
    let n_undecided = bound_box(index, local);
    let depth = pool[start + 2u * n];
    if local == 0u {
        decide_fate(depth, n_undecided);
    }
    workgroupBarrier();
    if fate == DECIDED {
        return;
    }
    // Bits are copied from the pool: no arithmetic touches an end.
    for (var e = local; e < 2u * n; e += SIZE) {
        let end = pool[start + e];
        pool[place_left + e] = end;
        if fate == SPLIT {
            pool[place_right + e] = end;
            if e == dimension {
                pool[place_right + e] = cut;
            }
            if e == n + dimension {
                pool[place_left + e] = cut;
            }
        }
    }
    if local == 0u {
        let deeper = depth + select(0u, 1u, fate == SPLIT);
        pool[place_left + 2u * n] = deeper;
        pool[place_left + 2u * n + 1u] = score;
        pool[place_left + 2u * n + 2u] = dimension;
        if fate == SPLIT {
            pool[place_right + 2u * n] = deeper;
            pool[place_right + 2u * n + 1u] = score;
            pool[place_right + 2u * n + 2u] = dimension;
        }
    }
}
