// The end of every interval through an affine node, four outputs at a time.

//#import shared/affine

// Sums over the inputs of one row of `W`: the centre, `Σ |W| r`, `Σ |W| H`, and `Σ H`.
struct AffineSums {
    centre: vec4<f32>,
    radius: vec4<f32>,
    magnitude: vec4<f32>,
    operand: f32,
}

fn add_input(sums: ptr<function, AffineSums>, weight: vec4<f32>, lower: f32, upper: f32) {
    let ball = ball_of(lower, upper);
    (*sums).centre += weight * ball.x;
    (*sums).radius += abs(weight) * ball.y;
    (*sums).magnitude += abs(weight) * ball.z;
    (*sums).operand += ball.z;
}

fn store_output(affine: IntervalAffine, subdomain: u32, output: u32, centre: f32, radius: f32, magnitude: f32, operand: f32) {
    let end = affine_end(affine, output, centre, radius, magnitude, operand);
    let base = subdomain * frame.state_stride;
    state[base + affine.target_ + output] = end.x;
    state[base + affine.target_ + affine.n_out + output] = end.y;
    state[base + affine.error + output] = end.z;
}
