// Replaces an activation's outputs by each lane's own lines, keeps the coefficients for the gradient, and adds the splits' multipliers:
//   as `back_lines`; then, for every split, `A -= s β` and `slack += 2 unit (|A| + β) max(|l|, |u|)`.
// Notes the mean magnitude of the coefficients too: the multipliers' natural unit.
//
// Workgroup: 8 tiles by 32 lanes along the neurons.
// Source: Wang et al. 2021 (arXiv 2103.06624), theorem 3.1; the slack is ours.

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/tiles
//#import shared/lanes
//#import shared/reach
//#import shared/steps
//#import shared/own_lines

@group(0) @binding(0) var<uniform> params: LaneNode;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    let has_splits = frame.n_splits != 0u && params.is_relu != 0u;
    var sums: Sums;
    var norm = vec4<f32>();
    var n_entries = 0.0;
    var tile = 0u;
    if is_inside {
        let n = params.n;
        tile = book[frame.places + index];
        let base = book[frame.owners + index] * frame.state_stride;
        let slot = params.slot * frame.slot_size + index;
        let reach = load_reach(params.slot, index);
        let n_reached = count_reached(reach, n);
        for (var e = local.y; e < n_reached; e += LANES) {
            let j = reached(reach, e);
            let at = slot + j * n_tiles;
            let a = coefficients[at];
            let line = line_at(base + params.lines + j, n);
            let is_entry = !is_settled(line);
            if !is_entry && !has_splits {
                coefficients[at] = a * line.low;
                continue;
            }
            let place = dual_place(params.first + j, tile);
            duals[frame.kept + place] = a;
            var own = shared_lines(line);
            if params.is_relu != 0u {
                own = own_lines(line, duals[frame.low + place]);
            }
            let positive = max(a, vec4<f32>());
            let negative = min(a, vec4<f32>());
            sums.bias += positive * own.low_at + negative * own.up_at;
            sums.slack += abs(a) * line.error;
            var next = positive * own.low + negative * own.up;
            if has_splits {
                let is_split = own.is_active | own.is_inactive;
                if is_entry || any(is_split) {
                    norm += abs(a);
                    n_entries += 1.0;
                }
                let beta = duals[frame.beta + place];
                if any(beta > vec4<f32>()) {
                    let source = base + params.source + j;
                    let high = max(abs(state[source]), abs(state[source + n]));
                    let owed = (params.two_units * high) * (abs(next) + beta);
                    sums.slack += select(vec4<f32>(), owed, beta > vec4<f32>());
                    next += select(beta, -beta, own.is_active);
                }
            }
            coefficients[at] = next;
        }
    }
    sum_lanes(local, sums.bias, sums.slack);
    if is_inside && local.y == 0u {
        rows[index] += first_partial[local.x];
        rows[frame.tile_capacity + index] += second_partial[local.x];
    }
    if has_splits {
        workgroupBarrier();
        sum_lanes(local, norm, vec4<f32>(n_entries));
        if is_inside && local.y == 0u {
            duals[frame.means + dual_place(params.node, tile)] = first_partial[local.x] / max(second_partial[local.x], vec4<f32>(1.0));
        }
    }
}
