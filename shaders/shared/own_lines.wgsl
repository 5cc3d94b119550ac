// Lines that differ from lane to lane: slopes `α` of the lower lines of undecided `ReLU`s, and splits with their multipliers `β`.
//
// A slope in [0, 1] is free; two other values mark a neuron that a split has decided in a lane.

// Instead of the exchange, which kernels of lanes do not use.
@group(0) @binding(9) var<storage, read_write> duals: array<vec4<f32>>;

const ACTIVE: f32 = 2.0;
const INACTIVE: f32 = -1.0;

// The lines of one neuron in four lanes.
struct OwnLines {
    low: vec4<f32>,
    low_at: vec4<f32>,
    up: vec4<f32>,
    up_at: vec4<f32>,
    is_active: vec4<bool>,
    is_inactive: vec4<bool>,
}

fn dual_place(row: u32, tile: u32) -> u32 {
    return row * frame.tile_capacity + tile;
}

// The five arrays of `n` of an activation, at one neuron.
fn line_at(place: u32, n: u32) -> Line {
    return Line(state[place], state[place + n], state[place + 2u * n], state[place + 3u * n], state[place + 4u * n]);
}

// Whether a line is zero or the identity: then no lane has another, unless a split has decided the neuron.
fn is_settled(line: Line) -> bool {
    let is_straight = line.low == line.up && line.low_at == 0.0 && line.up_at == 0.0 && line.error == 0.0;
    return is_straight && (line.low == 0.0 || line.low == 1.0);
}

fn shared_lines(line: Line) -> OwnLines {
    return OwnLines(
        vec4<f32>(line.low),
        vec4<f32>(line.low_at),
        vec4<f32>(line.up),
        vec4<f32>(line.up_at),
        vec4<bool>(),
        vec4<bool>(),
    );
}

// Where a split has decided, the line through the origin; else the lane's own slope below and the shared line above.
fn own_lines(line: Line, slope: vec4<f32>) -> OwnLines {
    let is_active = slope > vec4<f32>(1.5);
    let is_inactive = slope < vec4<f32>();
    let is_split = is_active | is_inactive;
    let zero = vec4<f32>();
    let one = vec4<f32>(1.0);
    return OwnLines(
        select(select(slope, one, is_active), zero, is_inactive),
        select(vec4<f32>(line.low_at), zero, is_split),
        select(select(vec4<f32>(line.up), one, is_active), zero, is_inactive),
        select(vec4<f32>(line.up_at), zero, is_split),
        is_active,
        is_inactive,
    );
}

// By the exponents: comparisons may assume that infinities and NaN do not occur.
fn are_finite(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
}
