use super::batch::Batch;
use super::room::{HEADER, Layout, Needs};
use super::schedule::{LaneLaunch, LanePass};
use super::{GpuLanes, LaneTask, Plan};
use crate::device::gpu::frame::Frame;
use crate::device::gpu::kernel::{Kernel, UNIFORM_STRIDE};
use crate::device::gpu::schedule::MAX_WORKGROUPS;
use crate::device::host::{Goal, Keep};
use crate::kernels::Update;

/// More gaps than this come back unsorted, all of them.
pub const MOST_GAPS: usize = 32;

/// A submission in the making.
pub struct Recording<'a> {
    lanes: &'a GpuLanes,
    plan: &'a Plan,
    layout: &'a Layout,
    n_tiles: u32,
    n_splits: u32,
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    /// Bytes of the results so far.
    pub copied: u64,
}

/// Where, in words, results lie.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places {
    /// Best bounds and their slacks, `[capacity, 4]` each.
    pub best: usize,
    pub best_slack: usize,
    /// What the tiles' lanes do.
    pub deeds: usize,
    /// `[n_splits, 4]`.
    pub splits: Option<usize>,
    /// `[n_rows, capacity]`: slopes of four lanes to a word.
    pub bytes: Option<usize>,
    /// `[n_inputs / 8, capacity]`.
    pub ends: Option<usize>,
    /// `[n_gaps, 2, capacity, 4]`: rows, then gaps.
    pub gaps: Option<usize>,
    /// `[n_rows, capacity, 4]` each.
    pub all_gaps: Option<usize>,
    pub best_low: Option<usize>,
    pub best_beta: Option<usize>,
}

impl<'a> Recording<'a> {
    pub fn new(lanes: &'a GpuLanes, (plan, layout): (&'a Plan, &'a Layout), batch: &Batch) -> Self {
        let encoder = lanes.shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let (n_tiles, n_splits) = (batch.tiles.len() as u32, (batch.splits.len() / 4) as u32);
        Self { lanes, plan, layout, n_tiles, n_splits, encoder, pass: None, copied: 0 }
    }

    /// The duals at the start.
    pub fn start(&mut self, pass: &LanePass) {
        self.all(&pass.start, 0);
        self.over_splits(Kernel::DecideSplits);
    }

    /// One look: down and, unless it is the last, up again.
    pub fn step(&mut self, pass: &LanePass, step: usize, (is_last, keeps_best): (bool, bool)) {
        if step > 0 {
            self.close_up(step);
        }
        self.all(&pass.down, step);
        if keeps_best {
            self.all(&pass.store, step);
        }
        if !is_last {
            self.all(&pass.up, step);
        }
    }

    /// The first kernels of a look.
    #[cfg(test)]
    pub fn part_of_step(&mut self, pass: &LanePass, step: usize, n_kernels: usize) {
        if step > 0 {
            self.close_up(step);
        }
        let n_down = n_kernels.min(pass.down.len());
        self.all(&pass.down[..n_down], step);
        self.all(&pass.up[..n_kernels - n_down], step);
    }

    /// Drops the tiles that rest.
    pub fn close_up(&mut self, frame: usize) {
        self.launch(Kernel::AssignLanes, 0, frame, [1, 1]);
    }

    /// What the host wants besides bounds, in the form in which it is copied.
    pub fn end(&mut self, pass: &LanePass, frame: usize, keep: Keep) {
        if keep.gaps > 0 {
            self.all(&pass.up, frame);
            if keep.gaps <= MOST_GAPS {
                self.all(&[pass.gaps], frame);
            }
        }
        if keep.duals {
            self.all(&pass.pack, frame);
            self.over_splits(Kernel::CollectSplits);
        }
        if keep.minimiser {
            self.all(&[pass.ends], frame);
        }
    }

    /// Kernels one after the other.
    pub fn all(&mut self, launches: &[LaneLaunch], frame: usize) {
        for launch in launches {
            let grid = [self.n_tiles.div_ceil(launch.tiles), launch.n_workgroups];
            self.launch(launch.kernel, launch.params, frame, grid);
        }
    }

    fn over_splits(&mut self, kernel: Kernel) {
        if self.n_splits > 0 {
            let n_workgroups = self.n_splits.div_ceil(64);
            let y = n_workgroups.div_ceil(MAX_WORKGROUPS);
            self.launch(kernel, 0, 0, [n_workgroups.div_ceil(y), y]);
        }
    }

    fn launch(&mut self, kernel: Kernel, params: u32, frame: usize, [x, y]: [u32; 2]) {
        let pass = self.pass.get_or_insert_with(|| {
            self.encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()).forget_lifetime()
        });
        pass.set_pipeline(self.lanes.pipelines[kernel as usize].as_ref().expect("every kernel of a pass is compiled"));
        pass.set_bind_group(0, &self.plan.group, &[params, (frame * UNIFORM_STRIDE) as u32]);
        pass.dispatch_workgroups(x, y, 1);
    }

    /// Copies words to the results; where they lie there.
    pub fn copy(&mut self, source: &wgpu::Buffer, word: u64, n_words: u64) -> usize {
        // A pass that is open would come later.
        self.pass = None;
        let place = self.copied;
        self.encoder.copy_buffer_to_buffer(source, 4 * word, &self.plan.results, place, 4 * n_words);
        self.copied += 4 * n_words;
        (place / 4) as usize
    }

    /// Copies everything that is wanted.
    pub fn results(&mut self, needs: &Needs, keep: Keep) -> Places {
        let Plan { rows, book, duals, .. } = self.plan;
        let (frame, capacity) = (&self.layout.frame, self.layout.size.n_tiles);
        let n_dual = 4 * needs.n_rows() * capacity;
        self.copy(book, 0, HEADER);
        let best = self.copy(rows, 2 * 4 * capacity, 8 * capacity);
        let deeds = self.copy(book, u64::from(frame.deeds), capacity);
        let mut places = Places { best, best_slack: best + 4 * capacity as usize, deeds, ..Places::default() };
        if keep.duals {
            places.bytes = Some(self.copy(book, u64::from(frame.bytes), needs.n_rows() * capacity));
            if self.n_splits > 0 {
                places.splits = Some(self.copy(book, u64::from(frame.splits), 4 * u64::from(self.n_splits)));
            }
        }
        if keep.minimiser {
            places.ends = Some(self.copy(book, u64::from(frame.ends), needs.n_ends() * capacity));
        }
        if keep.gaps > MOST_GAPS {
            places.all_gaps = Some(self.copy(duals, 4 * u64::from(frame.first_moment), n_dual));
        } else if keep.gaps > 0 {
            places.gaps = Some(self.copy(book, u64::from(frame.gaps), 8 * keep.gaps as u64 * capacity));
        }
        if keep.proof {
            places.best_low = Some(self.copy(duals, 4 * u64::from(frame.best_low), n_dual));
            if self.n_splits > 0 {
                places.best_beta = Some(self.copy(duals, 4 * u64::from(frame.best_beta), n_dual));
            }
        }
        places
    }

    pub fn finish(mut self) -> wgpu::CommandBuffer {
        self.pass = None;
        self.encoder.finish()
    }
}

/// The frame of a step (from 0; the last one, past all steps, is that of the gaps).
pub fn step_frame(frame: &Frame, task: &LaneTask, batch: &Batch, step: usize) -> Frame {
    let ascent = task.ascent;
    let shrink = ascent.decay.powi(step as i32) * Update::<f32>::correction(step + 1, ascent.momentum);
    let rate = |rate: f64| (rate * shrink).clamp(0.0, 1e30) as f32;
    Frame {
        n_tiles: batch.tiles.len() as u32,
        n_splits: (batch.splits.len() / 4) as u32,
        alpha_rate: rate(ascent.alpha_rate),
        beta_rate: rate(ascent.beta_rate),
        momentum: ascent.momentum as f32,
        margin: ascent.margin as f32,
        goal: match task.goal {
            Goal::Positive => 0,
            Goal::Decided => 1,
            Goal::Tightest => 2,
        },
        has_bytes: u32::from(!batch.bytes.is_empty()),
        wants_gaps: u32::from(step > ascent.steps),
        n_gaps: if task.keep.gaps > MOST_GAPS { 0 } else { task.keep.gaps as u32 },
        ..*frame
    }
}
