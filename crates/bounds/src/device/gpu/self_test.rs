use super::faults::Faults;
use super::kernel::{compile, shaders};
use crate::error::{Error, ErrorKind};

const N_PAIRS: usize = 10_240;
/// Relative: a correctly rounded result may be either neighbour of the exact one.
const UNIT: f64 = 1.192_092_895_507_812_5e-7;
/// In units: WGSL allows quotients 2.5 units in the last place.
const QUOTIENT: f64 = 2.5;

/// Refuses a device whose sums, differences, products or quotients are less exact than WGSL promises.
pub fn run(device: &wgpu::Device, queue: &wgpu::Queue, faults: &Faults) -> Result<(), Error> {
    let pairs = pairs();
    let results = compute(device, queue, faults, &pairs)?;
    for (&[a, b], result) in pairs.iter().zip(&results) {
        if let Some(problem) = judge(a, b, *result) {
            return Err(ErrorKind::Device(format!("its arithmetic cannot be trusted: {problem}")).into());
        }
    }
    if results.len() == pairs.len() {
        Ok(())
    } else {
        Err(ErrorKind::Device("its arithmetic test returned too little".into()).into())
    }
}

fn compute(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    faults: &Faults,
    pairs: &[[f32; 2]],
) -> Result<Vec<[f32; 4]>, Error> {
    let n_bytes = (pairs.len() * size_of::<[f32; 4]>()) as u64;
    let input = faults.upload(device, queue, "pairs", bytemuck::cast_slice(pairs), wgpu::BufferUsages::STORAGE)?;
    let output = faults.catch(device, || {
        let pipeline = compile(device, None, "self_test", shaders::SELF_TEST, "main", &[]);
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("results"),
                size: n_bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        let results = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let output = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("self_test"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: input.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: results.as_entire_binding() },
            ],
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(pairs.len().div_ceil(64) as u32, 1, 1);
        drop(pass);
        encoder.copy_buffer_to_buffer(&results, 0, &output, 0, n_bytes);
        queue.submit([encoder.finish()]);
        output
    })?;
    Ok(bytemuck::pod_collect_to_vec(&faults.read(device, &output, n_bytes)?))
}

/// Pairs whose results are all normal numbers, over 80 binades, and some that are hand-picked.
fn pairs() -> Vec<[f32; 2]> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        // Source: Marsaglia 2003, xorshift generators.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let bits = (seed >> 20) as u32;
        let exponent = 127 - 40 + (seed >> 56) as u32 % 80;
        f32::from_bits((bits & 0x807f_ffff) | (exponent << 23))
    };
    let mut pairs = vec![[1.0, f32::EPSILON / 2.0], [3.0, 3.0], [1.0, 3.0], [-1.0, 1.0 - f32::EPSILON], [0.0, 1.0]];
    pairs.resize_with(N_PAIRS, || [random(), random()]);
    pairs
}

/// What is wrong with the results of a pair, if anything is.
fn judge(a: f32, b: f32, [sum, difference, product, quotient]: [f32; 4]) -> Option<String> {
    let (x, y) = (f64::from(a), f64::from(b));
    // f64 errs a little itself where the operands are far apart; the room for that is far below an f32's unit.
    let checks = [
        ("+", x + y, sum, 1.0),
        ("-", x - y, difference, 1.0),
        ("*", x * y, product, 1.0),
        ("/", x / y, quotient, QUOTIENT),
    ];
    checks.iter().find_map(|&(operation, exact, got, units)| {
        let error = (f64::from(got) - exact).abs();
        // Not the negation of `>`: a NaN must fail.
        let is_good = error <= units * UNIT * (1.0 + 1e-6) * exact.abs();
        (!is_good).then(|| format!("{a:e} {operation} {b:e} gave {got:e} instead of {exact:e}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_pass_and_others_fail() {
        // Every result is exact.
        let (a, b) = (6.0_f32, 2.0_f32);
        let exact = [a + b, a - b, a * b, a / b];
        assert_eq!(judge(a, b, exact), None);
        assert_eq!(judge(a, b, exact.map(f32::next_up)), None);
        assert_eq!(judge(a, b, exact.map(f32::next_down)), None);
        for i in 0..4 {
            let mut wrong = exact;
            wrong[i] *= 1.0 + 4.0 * f32::EPSILON;
            assert!(judge(a, b, wrong).is_some());
            wrong[i] = f32::NAN;
            assert!(judge(a, b, wrong).is_some());
        }
    }

    #[test]
    fn ordinary_arithmetic_passes() {
        assert!(pairs().iter().all(|&[a, b]| judge(a, b, [a + b, a - b, a * b, a / b]).is_none()));
    }
}
