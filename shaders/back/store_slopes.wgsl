// Returns the objective's linear functions, which are the coefficients at the input: exchange `[n_subdomains, n_rows, n_inputs]`.
//
// Workgroup: 8 tiles by 32 lanes along the inputs.

//#import shared/params
//#import shared/frame
//#import shared/tiles
//#import shared/lanes
//#import shared/reach

@group(0) @binding(0) var<uniform> params: Concretize;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    if index >= n_tiles {
        return;
    }
    let tile = tile_at(index);
    let slot = params.slot * frame.slot_size + index;
    let first = frame.slopes + (tile.subdomain * tile.n_rows + tile.first_row) * params.n;
    let reach = load_reach(params.slot, index);
    for (var i = local.y; i < params.n; i += LANES) {
        let a = select(vec4<f32>(), coefficients[slot + i * n_tiles], is_reached(reach, i));
        for (var r = 0u; r < 4u; r++) {
            if is_row(tile, r) {
                exchange[first + r * params.n + i] = bitcast<u32>(a[r]);
            }
        }
    }
}
