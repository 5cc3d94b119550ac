// The largest gaps of every lane, in order; of equal ones the first. Book `[n_gaps, 2, tile_capacity, 4]`: rows, then gaps.
//
// One workgroup: one tile. Each of `n_gaps` looks finds the largest gap that comes after the last one.

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/tiles
//#import shared/steps
//#import shared/own_lines

@group(0) @binding(0) var<uniform> params: LaneGaps;

const SIZE: u32 = 64u;
var<workgroup> gaps: array<vec4<f32>, 64>;
var<workgroup> places: array<vec4<u32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = workgroup.x;
    let is_inside = index < count_tiles();
    var tile = 0u;
    if is_inside {
        tile = book[frame.places + index];
    }
    var last = vec4<f32>(HUGE);
    var last_row = vec4<u32>();
    for (var k = 0u; k < frame.n_gaps; k++) {
        var best = vec4<f32>();
        var best_row = vec4<u32>();
        if is_inside {
            for (var row = local; row < params.n_rows; row += SIZE) {
                let gap = duals[frame.first_moment + dual_place(row, tile)];
                let is_later = (gap < last) | ((gap == last) & (vec4<u32>(row) > last_row));
                let is_better = is_later & (gap > best);
                best = select(best, gap, is_better);
                best_row = select(best_row, vec4<u32>(row), is_better);
            }
        }
        gaps[local] = best;
        places[local] = best_row;
        for (var step = SIZE / 2u; step > 0u; step /= 2u) {
            workgroupBarrier();
            if local < step {
                let gap = gaps[local + step];
                let row = places[local + step];
                let is_better = (gap > gaps[local]) | ((gap == gaps[local]) & (row < places[local]));
                gaps[local] = select(gaps[local], gap, is_better);
                places[local] = select(places[local], row, is_better);
            }
        }
        workgroupBarrier();
        last = gaps[0];
        last_row = places[0];
        if is_inside && local < 4u {
            let place = frame.gaps + 8u * k * frame.tile_capacity + 4u * tile + local;
            book[place] = last_row[local];
            book[place + 4u * frame.tile_capacity] = bitcast<u32>(last[local]);
        }
        workgroupBarrier();
    }
}
