// Between two rounds of branch and bound: counts the open boxes and, if there is room for whatever may become of them, starts a
// round of all of them; else of none. All or none, so that what was bounded does not depend on the order of atomics.
//
// One invocation. Arguments: of the next dispatch of `branch_boxes`.

//#import shared/counters

@group(0) @binding(0) var<storage, read_write> counters: array<u32>;
@group(0) @binding(1) var<storage, read_write> arguments: array<u32>;

const MOST_WORKGROUPS: u32 = 65535u;

@compute @workgroup_size(1)
fn main() {
    counters[HEAD] = (counters[HEAD] + counters[N_RUNNING]) % counters[CAPACITY];
    let n = counters[N_OPEN] - counters[N_RUNNING] + counters[N_NEXT];
    counters[N_OPEN] = n;
    counters[N_NEXT] = 0u;
    let has_room = 3u * n <= counters[CAPACITY] && counters[N_DOUBTFUL] + n <= counters[MOST_DOUBTFUL];
    let n_running = select(0u, n, has_room);
    counters[N_RUNNING] = n_running;
    if n_running != 0u {
        counters[N_ROUNDS] += 1u;
        let before = counters[BOUNDED];
        counters[BOUNDED] = before + n_running;
        counters[BOUNDED + 1u] += select(0u, 1u, before + n_running < before);
    }
    let y = (n_running + MOST_WORKGROUPS - 1u) / MOST_WORKGROUPS;
    arguments[0] = (n_running + max(y, 1u) - 1u) / max(y, 1u);
    arguments[1] = y;
    arguments[2] = min(y, 1u);
}
