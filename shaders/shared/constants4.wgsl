// The weights, four by four.
@group(0) @binding(2) var<storage, read> constants: array<vec4<f32>>;

fn constant(index: u32) -> f32 {
    return constants[index >> 2u][index & 3u];
}

// Four neighbours, of which those past `n_valid` are not read.
fn four_constants(index: u32, n_valid: u32) -> vec4<f32> {
    if (index & 3u) == 0u && n_valid >= 4u {
        return constants[index >> 2u];
    }
    var four = vec4<f32>();
    for (var c = 0u; c < min(n_valid, 4u); c++) {
        four[c] = constant(index + c);
    }
    return four;
}
