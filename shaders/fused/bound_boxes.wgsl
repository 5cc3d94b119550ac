// Bounds every box of a batch, each in one workgroup: see `shared/crown`.

//#import shared/crown

@group(0) @binding(7) var<storage, read_write> exchange: array<u32>;

fn store_slope(row: u32, i: u32, slope: f32, subdomain: u32) {
    exchange[frame.slopes + (subdomain * frame.n_rows + row) * frame.n_inputs + i] = bitcast<u32>(slope);
}

fn store_column(a: vec4<f32>, i: u32, first_row: u32, subdomain: u32) {
    if i < frame.n_inputs {
        for (var r = 0u; r < 4u && first_row + r < frame.n_rows; r++) {
            store_slope(first_row + r, i, a[r], subdomain);
        }
    }
}

// The objective's linear functions, which are the coefficients at the input.
fn store_slopes(a: Four, owner: u32, first_row: u32, subdomain: u32) {
    store_column(a.c0, owner, first_row, subdomain);
    store_column(a.c1, owner + QUADS, first_row, subdomain);
    store_column(a.c2, owner + 2u * QUADS, first_row, subdomain);
    store_column(a.c3, owner + 3u * QUADS, first_row, subdomain);
}

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let subdomain = linear_index(workgroup, n_workgroups, 1u, 0u);
    if subdomain >= frame.n_subdomains {
        return;
    }
    let n = 2u * frame.n_inputs;
    for (var e = local; e < n; e += SIZE) {
        state[e] = bitcast<f32>(exchange[frame.inputs + subdomain * n + e]);
    }
    let n_undecided = bound_box(subdomain, local);
    for (var row = local; row < frame.n_rows; row += SIZE) {
        exchange[frame.lower + subdomain * frame.n_rows + row] = bitcast<u32>(state[frame.result + row]);
        exchange[frame.slack + subdomain * frame.n_rows + row] = bitcast<u32>(state[frame.result + frame.n_rows + row]);
    }
    if local == 0u {
        exchange[frame.split + subdomain] = chosen;
        exchange[frame.undecided + subdomain] = n_undecided;
    }
}
