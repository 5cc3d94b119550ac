//! Linear functions at many points, in f32: for samples, never for bounds.

use crate::device::isa::{Isa, Vectorised};
use crate::kernels::LANES;
use crate::planes::Plane;

/// Calls `visit` with each vector of points' first place and the values of every plane there, `[n_planes]` vectors.
struct Values<'a, F> {
    planes: &'a [Plane],
    points: &'a [f32],
    n: usize,
    visit: F,
}

impl<F: FnMut(usize, usize, &[f32; LANES])> Vectorised for Values<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        let Self { planes, points, n, mut visit } = self;
        let a: Vec<f32> = planes.iter().flat_map(|plane| plane.a.iter().map(|&a| a as f32)).collect();
        let mut columns = vec![[0.0_f32; LANES]; n];
        for (chunk, block) in points.chunks(LANES * n).enumerate() {
            for (r, point) in block.chunks_exact(n).enumerate() {
                point.iter().zip(&mut columns).for_each(|(&x, column)| column[r] = x);
            }
            for (p, plane) in planes.iter().enumerate() {
                let mut value = [plane.b as f32; LANES];
                for (&a, column) in a[p * n..][..n].iter().zip(&columns) {
                    for r in 0..LANES {
                        value[r] += a * column[r];
                    }
                }
                visit(chunk * LANES, p, &value);
            }
        }
    }
}

/// The least value of all planes at every point of `[n_points, n]`; infinite where there is no plane.
pub fn least_values(planes: &[Plane], points: &[f32], n: usize) -> Vec<f32> {
    let n_points = points.len() / n;
    let mut least = vec![f32::INFINITY; n_points.next_multiple_of(LANES)];
    let visit = |start: usize, _: usize, value: &[f32; LANES]| {
        least[start..start + LANES].iter_mut().zip(value).for_each(|(least, &value)| *least = least.min(value));
    };
    Isa::detect().run(Values { planes, points, n, visit });
    least.truncate(n_points);
    least
}

/// The value of every plane at every point: `[n_planes, n_points]`.
pub fn plane_values(planes: &[Plane], points: &[f32], n: usize) -> Vec<f32> {
    let n_points = points.len() / n;
    let mut values = vec![0.0; planes.len() * n_points];
    let visit = |start: usize, p: usize, value: &[f32; LANES]| {
        let count = LANES.min(n_points - start);
        values[p * n_points + start..][..count].copy_from_slice(&value[..count]);
    };
    Isa::detect().run(Values { planes, points, n, visit });
    values
}
