// Where paths meet: `A_to ← A_from`, or `A_to ← A_to + A_from` with `slack += 2 unit Σ |A_to| max(|l|, |u|)`.
//
// Workgroup: 8 tiles by 32 lanes along the neurons.

//#import shared/params
//#import shared/frame
//#import shared/tiles
//#import shared/lanes
//#import shared/reach

@group(0) @binding(0) var<uniform> params: BackMerge;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    var slack = vec4<f32>();
    var reach = everything();
    if is_inside {
        let bounds = book[frame.owners + frame.first_tile + index] * frame.state_stride + params.bounds;
        let from_ = params.from_ * frame.slot_size + index;
        let to = params.to * frame.slot_size + index;
        let from_reach = load_reach(params.from_, index);
        reach = from_reach;
        var to_reach = from_reach;
        if params.adds != 0u {
            to_reach = load_reach(params.to, index);
            reach = union_reach(from_reach, to_reach);
        }
        let n_reached = count_reached(reach, params.n);
        for (var e = local.y; e < n_reached; e += LANES) {
            let j = reached(reach, e);
            var a = select(vec4<f32>(), coefficients[from_ + j * n_tiles], is_reached(from_reach, j));
            if params.adds != 0u {
                a += select(vec4<f32>(), coefficients[to + j * n_tiles], is_reached(to_reach, j));
                slack += abs(a) * (params.two_units * max(abs(state[bounds + j]), abs(state[bounds + params.n + j])));
            }
            coefficients[to + j * n_tiles] = a;
        }
    }
    sum_lanes(local, slack, vec4<f32>());
    // After the barriers of the sum: every lane has read the old reach.
    if is_inside && local.y == 0u {
        store_reach(params.to, index, reach);
        if params.adds != 0u {
            rows[frame.tile_capacity + index] += first_partial[local.x];
        }
    }
}
