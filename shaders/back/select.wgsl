// The neurons that a node's interval leaves undecided: a breakpoint strictly inside, or, without breakpoints, `lower < upper`.
//
// One workgroup: one subdomain. Marks: the count, then the neurons in increasing order.

//#import shared/params
//#import shared/frame
//#import shared/undecided

@group(0) @binding(0) var<uniform> params: Select;

const SIZE: u32 = 64u;
var<workgroup> counts: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let subdomain = workgroup.x;
    let lower = subdomain * frame.state_stride + params.source;
    let upper = lower + params.n;
    let list = subdomain * frame.mark_stride + params.list;
    // Each invocation looks at a stretch of neighbours, first to count, then to write.
    let span = (params.n + SIZE - 1u) / SIZE;
    let begin = min(local * span, params.n);
    let end = min(begin + span, params.n);
    var count = 0u;
    for (var j = begin; j < end; j++) {
        count += select(0u, 1u, is_undecided(params, state[lower + j], state[upper + j]));
    }
    counts[local] = count;
    for (var step = 1u; step < SIZE; step *= 2u) {
        workgroupBarrier();
        var before = 0u;
        if local >= step {
            before = counts[local - step];
        }
        workgroupBarrier();
        counts[local] += before;
    }
    var place = list + 1u + counts[local] - count;
    for (var j = begin; j < end; j++) {
        if is_undecided(params, state[lower + j], state[upper + j]) {
            marks[place] = j;
            place++;
        }
    }
    if local == SIZE - 1u {
        marks[list] = counts[local];
    }
}
