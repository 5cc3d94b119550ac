// Lays out the rows of a pass: the first tile of each subdomain (prefix sum), the owner of each tile, and how many workgroups
// each kernel of each chunk needs. A refinement with `n` undecided neurons has `2 n` rows.
//
// `main`: one workgroup for everything but the owners. `owners`: one workgroup per subdomain, after `main`.

//#import shared/frame

const SIZE: u32 = 256u;
var<workgroup> tile_sums: array<u32, 256>;
var<workgroup> neuron_sums: array<u32, 256>;

fn count_neurons(subdomain: u32) -> u32 {
    if frame.is_objective != 0u {
        return frame.n_fixed;
    }
    return marks[subdomain * frame.mark_stride + frame.list];
}

fn count_owned(subdomain: u32) -> u32 {
    let n_ends = select(2u, frame.n_ends, frame.is_objective != 0u);
    return (n_ends * count_neurons(subdomain) + 3u) / 4u;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    let n = n_subdomains();
    let span = (n + SIZE - 1u) / SIZE;
    let begin = min(local * span, n);
    let end = min(begin + span, n);
    var n_tiles = 0u;
    var n_neurons = 0u;
    for (var s = begin; s < end; s++) {
        n_tiles += count_owned(s);
        n_neurons += count_neurons(s);
    }
    tile_sums[local] = n_tiles;
    neuron_sums[local] = n_neurons;
    for (var step = 1u; step < SIZE; step *= 2u) {
        workgroupBarrier();
        var tiles_before = 0u;
        var neurons_before = 0u;
        if local >= step {
            tiles_before = tile_sums[local - step];
            neurons_before = neuron_sums[local - step];
        }
        workgroupBarrier();
        tile_sums[local] += tiles_before;
        neuron_sums[local] += neurons_before;
    }
    workgroupBarrier();
    var first = tile_sums[local] - n_tiles;
    for (var s = begin; s < end; s++) {
        book[frame.firsts + s] = first;
        first += count_owned(s);
    }
    let total = tile_sums[SIZE - 1u];
    if local == 0u {
        book[0] = total;
        book[frame.firsts + n] = total;
        if frame.is_objective == 0u {
            let sum = exchange[1] + neuron_sums[SIZE - 1u];
            exchange[2] += select(0u, 1u, sum < exchange[1]);
            exchange[1] = sum;
        }
    }
    let n_arguments = frame.n_chunks * frame.n_grids;
    for (var a = local; a < n_arguments; a += SIZE) {
        let grid = frame.grids + 2u * (a % frame.n_grids);
        let before = min((a / frame.n_grids) * frame.chunk_tiles, total);
        let tiles = min(total - before, frame.chunk_tiles);
        let tiles_per_workgroup = tables[grid];
        let n_workgroups = (tiles + tiles_per_workgroup - 1u) / tiles_per_workgroup;
        let arguments = frame.arguments + 3u * a;
        book[arguments] = n_workgroups;
        book[arguments + 1u] = select(tables[grid + 1u], 0u, n_workgroups == 0u);
        book[arguments + 2u] = select(1u, 0u, n_workgroups == 0u);
    }
}

@compute @workgroup_size(64)
fn owners(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let subdomain = workgroup.x;
    let end = book[frame.firsts + subdomain + 1u];
    for (var t = book[frame.firsts + subdomain] + local; t < end; t += 64u) {
        book[frame.owners + t] = subdomain;
    }
}
