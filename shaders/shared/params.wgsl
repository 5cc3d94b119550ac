// Every kernel's parameters. Names, order and sizes are those of the Rust structs in `program.rs`: the build compares them.
// Members called `padding*` stand for the one Rust field `padding`.

struct IntervalAffine {
    n_out: u32,
    n_in: u32,
    weight: u32,
    transposed: u32,
    bias: u32,
    absolute: u32,
    bias_error: u32,
    rows: u32,
    source: u32,
    target_: u32,
    error: u32,
    has_absolute: u32,
    gamma_interval: f32,
    gamma_column: f32,
    gamma_bias: f32,
    underflow: f32,
}

struct ConvShape {
    in_channels: u32,
    in_height: u32,
    in_width: u32,
    out_channels: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    pad_y: u32,
    pad_x: u32,
    groups: u32,
    padding: u32,
}

struct IntervalAdd {
    n: u32,
    n_operands: u32,
    operands: u32,
    target_: u32,
    gamma: f32,
    underflow: f32,
    padding_0: u32,
    padding_1: u32,
}

struct Relax {
    n: u32,
    kind: u32,
    source: u32,
    target_: u32,
    lines: u32,
    slopes: u32,
    clip_lower: f32,
    clip_upper: f32,
    two_units: f32,
    gamma_intercept: f32,
    table: u32,
    lower_slope: u32,
    inexactness: f32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}

struct IntervalMaxPool {
    n_out: u32,
    n_in: u32,
    source: u32,
    target_: u32,
    choice: u32,
    gamma: f32,
    padding_0: u32,
    padding_1: u32,
}

struct PoolShape {
    channels: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    pad_y: u32,
    pad_x: u32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}

struct Select {
    n: u32,
    source: u32,
    list: u32,
    n_breakpoints: u32,
    breakpoints: vec4<f32>,
}

struct Seed {
    kind: u32,
    slot: u32,
    n: u32,
    target_len: u32,
    weight: u32,
    bias: u32,
    error: u32,
    is_inexact: u32,
    gamma_bias: f32,
    underflow: f32,
    both_ends: u32,
    padding: u32,
}

struct BackLines {
    slot: u32,
    n: u32,
    lines: u32,
    node: u32,
}

struct AffineTerms {
    slot: u32,
    n: u32,
    bias: u32,
    error: u32,
}

struct BackAffine {
    from_: u32,
    to: u32,
    n_out: u32,
    n_in: u32,
    weight: u32,
    transposed: u32,
    columns: u32,
    operand: u32,
}

struct BackMaxPool {
    from_: u32,
    to: u32,
    n_out: u32,
    n_in: u32,
    bounds: u32,
    source: u32,
    choice: u32,
    gamma: f32,
}

struct BackMerge {
    from_: u32,
    to: u32,
    n: u32,
    adds: u32,
    bounds: u32,
    two_units: f32,
    padding_0: u32,
    padding_1: u32,
}

struct Concretize {
    slot: u32,
    n: u32,
    target_: u32,
    target_len: u32,
    keep_interval: u32,
    gamma: f32,
    inflation: f32,
    padding: u32,
}

struct SsimBalls {
    centred: u32,
    balls: u32,
    n_balls: u32,
    n_steps: u32,
    gamma: f32,
    most_mean: f32,
    most_quotient: f32,
    underflow: f32,
    from_: f32,
    to: f32,
    mean: f32,
    inverse_threshold: f32,
    energy: f32,
    contrast: f32,
    padding_0: u32,
    padding_1: u32,
}
