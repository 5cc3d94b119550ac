// Splits of single lanes: `decide` writes sides and multipliers into the duals, `collect` reads the multipliers back.
//
// One invocation: one split; no two of them are of the same neuron in the same lane.

//#import shared/frame

// Component by component: neighbours in a vector belong to other invocations.
@group(0) @binding(9) var<storage, read_write> components: array<f32>;

const ACTIVE: f32 = 2.0;
const INACTIVE: f32 = -1.0;

fn component(array_: u32, split: u32) -> u32 {
    let lane = book[split];
    return 4u * (array_ + book[split + 1u] * frame.tile_capacity + lane / 4u) + lane % 4u;
}

@compute @workgroup_size(64)
fn decide(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    if index >= frame.n_splits {
        return;
    }
    let split = frame.splits + 4u * index;
    components[component(frame.low, split)] = select(INACTIVE, ACTIVE, book[split + 2u] != 0u);
    components[component(frame.beta, split)] = bitcast<f32>(book[split + 3u]);
}

@compute @workgroup_size(64)
fn collect(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    if index >= frame.n_splits {
        return;
    }
    let split = frame.splits + 4u * index;
    book[split + 3u] = bitcast<u32>(components[component(frame.beta, split)]);
}
