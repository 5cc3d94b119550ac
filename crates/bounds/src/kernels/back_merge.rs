use crate::kernels::rows::{Block, LANES, add, lanes, lanes_mut};
use crate::program::BackMerge;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// Copies one coefficient matrix to another, or adds it where paths meet: `slack += 2u Σ |A| max(|l|, |u|)` for the sums.
#[inline(always)]
pub fn back_merge<T: Scalar, const LEVEL: u8>(params: &BackMerge, state: &[T], block: &mut Block<T>) {
    let (n, width) = (params.n as usize, block.width);
    let (from, to) = (params.from as usize, params.to as usize);
    let source = std::mem::take(&mut block.slots[from]);
    let source_live = std::mem::take(&mut block.live[from]);
    if params.adds == 0 {
        for &j in &source_live {
            let at = j as usize * width;
            block.slots[to][at..at + width].copy_from_slice(&source[at..at + width]);
        }
        block.live[to].clone_from(&source_live);
    } else {
        let bounds = &state[params.bounds as usize..][..2 * n];
        let two_units = T::of(f64::from(params.two_units));
        let target_live = std::mem::take(&mut block.live[to]);
        // Neurons that only the source has are cleared first, so that one loop adds.
        let mut merged = Vec::with_capacity(source_live.len() + target_live.len());
        let mut old = target_live.iter().copied().peekable();
        for &j in &source_live {
            while let Some(k) = old.next_if(|&k| k < j) {
                merged.push(k);
            }
            if old.next_if_eq(&j).is_none() {
                block.slots[to][j as usize * width..][..width].fill(T::ZERO);
            }
            merged.push(j);
        }
        merged.extend(old);
        for vector in (0..width).step_by(LANES) {
            let mut totals = [[T::ZERO; LANES]; 2];
            for chunk in source_live.chunks(SUM_BLOCK) {
                let mut sums = [[T::ZERO; LANES]; 2];
                for &j in chunk {
                    let j = j as usize;
                    let error = bounds[j].magnitude().larger(bounds[n + j].magnitude()) * two_units;
                    let b = lanes(&source, j * width + vector);
                    let a = lanes_mut(&mut block.slots[to], j * width + vector);
                    for r in 0..LANES {
                        a[r] += b[r];
                        sums[1][r] = a[r].magnitude().mul_add_if::<LEVEL>(error, sums[1][r]);
                    }
                }
                add(&mut totals, &sums);
            }
            block.collect(vector, &totals);
        }
        block.live[to] = merged;
    }
    block.slots[from] = source;
    block.live[from] = source_live;
}
