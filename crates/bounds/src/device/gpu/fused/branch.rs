use std::sync::atomic::Ordering;

use super::Fused;
use super::tables::{FusedFrame, Tables};
use crate::branch::{Branched, Budget, Piece, Rule};
use crate::device::gpu::Shared;
use crate::device::gpu::kernel::shaders;
use crate::error::{Error, ErrorKind};

/// Words of the counters, as in `shaders/shared/counters.wgsl`.
mod word {
    pub const HEAD: usize = 0;
    pub const N_OPEN: usize = 1;
    pub const N_RUNNING: usize = 2;
    pub const N_NEXT: usize = 3;
    pub const N_DOUBTFUL: usize = 4;
    pub const LEAST: usize = 5;
    pub const BOUNDED: usize = 6;
    pub const UNDECIDED: usize = 8;
    pub const N_ROUNDS: usize = 10;
    pub const CAPACITY: usize = 11;
    pub const MOST_DOUBTFUL: usize = 12;
    pub const DOUBTFUL_START: usize = 13;
    pub const RULE: usize = 14;
    pub const N_DISJUNCTS: usize = 15;
    pub const DEPTHS: usize = 16;
    pub const ALL: usize = 16 + 256;
}

/// Most rounds in one submission.
const MOST_ROUNDS: u32 = 256;

/// The kernels of branch and bound, and their buffers but for the pool.
pub struct Brancher {
    branch: wgpu::ComputePipeline,
    advance: wgpu::ComputePipeline,
    frame: wgpu::Buffer,
    counters: wgpu::Buffer,
    /// Of the indirect dispatches.
    arguments: wgpu::Buffer,
    advance_group: wgpu::BindGroup,
    /// Kept from call to call, and the words that it holds.
    pool: Option<(usize, wgpu::Buffer, wgpu::BindGroup)>,
}

impl Brancher {
    pub fn new(fused: &Fused) -> Result<Self, Error> {
        let Fused { shared, tables, .. } = fused;
        let Shared { device, queue, faults, .. } = &**shared;
        let frame = FusedFrame { wants_split: 1, ..tables.frame() };
        let frame = faults.upload(device, queue, "frame", bytemuck::bytes_of(&frame), wgpu::BufferUsages::UNIFORM)?;
        let branch = shared.fused.get(shared, "branch_boxes", shaders::BRANCH_BOXES, Some(tables.shape))?;
        let advance = shared.fused.get(shared, "advance", shaders::ADVANCE, None)?;
        faults.catch(device, || {
            let storage = wgpu::BufferUsages::STORAGE;
            let both_ways = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let buffer = |label, size, usage| {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(label),
                    size,
                    usage,
                    mapped_at_creation: false,
                })
            };
            let counters = buffer("counters", 4 * word::ALL as u64, storage | both_ways);
            let arguments = buffer("arguments", 16, storage | wgpu::BufferUsages::INDIRECT);
            let advance_group = group(device, &advance, [&counters, &arguments]);
            Self { branch, advance, frame, counters, arguments, advance_group, pool: None }
        })
    }

    /// Makes sure that the pool holds this many words.
    fn reserve(&mut self, fused: &Fused, n_words: usize) -> Result<(), Error> {
        if self.pool.as_ref().is_some_and(|(held, ..)| *held >= n_words) {
            return Ok(());
        }
        self.pool = None;
        let Shared { device, faults, .. } = &*fused.shared;
        let made = faults.catch(device, || {
            let pool = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("pool"),
                size: 4 * n_words as u64,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let buffers = [&self.frame].into_iter().chain(&fused.memory).chain([&pool, &self.counters]);
            let group = group(device, &self.branch, buffers);
            (n_words, pool, group)
        })?;
        self.pool = Some(made);
        Ok(())
    }

    /// See [`crate::BoundEngine::branch`].
    pub fn run(&mut self, fused: &Fused, pieces: &[Piece], rule: &Rule, budget: Budget) -> Result<Branched, Error> {
        let Shared { device, queue, faults, .. } = &*fused.shared;
        let limits = device.limits();
        let layout = Layout::new(&fused.tables, pieces.len(), rule, budget, &limits)?;
        self.reserve(fused, layout.n_words)?;
        let (_, pool, branch_group) = self.pool.as_ref().expect("it was just reserved");
        let mut ring = Vec::with_capacity(pieces.len() * layout.stride);
        for piece in pieces {
            ring.extend(piece.ends.iter().map(|end| end.to_bits()));
            ring.extend([piece.depth, piece.score.to_bits(), 0]);
        }
        let rows: Vec<u32> = rule.disjuncts.iter().flat_map(|rows| [rows.start as u32, rows.end as u32]).collect();
        let counters = layout.counters(pieces.len(), rule);
        faults.catch(device, || {
            queue.write_buffer(pool, 0, bytemuck::cast_slice(&ring));
            queue.write_buffer(pool, 4 * layout.rule as u64, bytemuck::cast_slice(&rows));
            queue.write_buffer(&self.counters, 0, bytemuck::cast_slice(&counters));
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for _ in 0..budget.rounds.min(MOST_ROUNDS) {
                    pass.set_pipeline(&self.advance);
                    pass.set_bind_group(0, &self.advance_group, &[]);
                    pass.dispatch_workgroups(1, 1, 1);
                    pass.set_pipeline(&self.branch);
                    pass.set_bind_group(0, branch_group, &[]);
                    pass.dispatch_workgroups_indirect(&self.arguments, 0);
                }
            }
            queue.submit([encoder.finish()]);
        })?;
        let counters = read(fused, &[(&self.counters, 0, word::ALL)])?;
        // What `advance` would have done after the last round.
        let wrong = |what: &str| Error::from(ErrorKind::Device(format!("it lost count of the boxes: {what}")));
        let [open, running, next] = [word::N_OPEN, word::N_RUNNING, word::N_NEXT].map(|word| counters[word] as usize);
        let head = (counters[word::HEAD] as usize + running) % layout.capacity;
        let n_doubtful = counters[word::N_DOUBTFUL] as usize;
        let n_open = (open + next).checked_sub(running).filter(|&n| n <= layout.capacity);
        let n_open = n_open.ok_or_else(|| wrong("more are open than there is room for"))?;
        if n_doubtful > layout.most_doubtful {
            return Err(wrong("more are doubtful than there is room for"));
        }
        let n_first = n_open.min(layout.capacity - head);
        let words = read(
            fused,
            &[
                (pool, head * layout.stride, n_first * layout.stride),
                (pool, 0, (n_open - n_first) * layout.stride),
                (pool, layout.doubtful, n_doubtful * layout.stride),
            ],
        )?;
        let mut boxes = words.chunks_exact(layout.stride).map(|words| layout.piece(words));
        let mut open: Vec<Piece> = boxes.by_ref().take(n_open).map(|(piece, _)| piece).collect();
        let mut doubtful: Vec<(Piece, usize)> = boxes.collect();
        let decided = &counters[word::DEPTHS..];
        if !covers(pieces, open.iter().chain(doubtful.iter().map(|(piece, _)| piece)), decided) {
            return Err(wrong("what is open, doubtful and decided is not what there was"));
        }
        open.sort_by(Piece::by_ends);
        doubtful.sort_by(|(a, _), (b, _)| a.by_ends(b));
        let wide = |low: usize| u64::from(counters[low]) + (u64::from(counters[low + 1]) << 32);
        let bounded = wide(word::BOUNDED);
        let depths = counters[word::DEPTHS..].iter().zip(0..);
        fused.shared.tally.rounds.fetch_add(u64::from(counters[word::N_ROUNDS]), Ordering::Relaxed);
        fused.shared.tally.boxes.fetch_add(bounded, Ordering::Relaxed);
        Ok(Branched {
            open,
            doubtful,
            bounded,
            n_rows: 2 * wide(word::UNDECIDED) + bounded * u64::from(fused.tables.n_rows),
            rounds: counters[word::N_ROUNDS],
            decided: depths.map(|(&n, depth)| f64::from(n) * 0.5_f64.powi(depth)).sum(),
            least_decided: f64::from(f32::from_bits(counters[word::LEAST])),
        })
    }
}

/// Whether what is left and what was decided are together as much as there was: a box of depth `d` counts `2^-d`, and halves of a
/// box are as much as it. Counted exactly, so that one box that is lost, or one word of what was read, shows. Ends that are no
/// numbers cover nothing.
fn covers<'a>(before: &[Piece], left: impl Iterator<Item = &'a Piece>, decided: &[u32]) -> bool {
    let last = decided.len() - 1;
    let mut balance = vec![0_i64; decided.len()];
    for (change, &n) in balance.iter_mut().zip(decided) {
        *change -= i64::from(n);
    }
    for piece in before {
        // The device counts what lies deeper with the last.
        balance[(piece.depth as usize).min(last)] += 1;
    }
    for piece in left {
        let n = piece.ends.len() / 2;
        let is_box = (0..n).all(|i| piece.ends[i].is_finite() && piece.ends[i] <= piece.ends[n + i]);
        if !is_box || piece.ends[n..].iter().any(|end| !end.is_finite()) {
            return false;
        }
        balance[(piece.depth as usize).min(last)] -= 1;
    }
    for depth in (1..=last).rev() {
        if balance[depth] % 2 != 0 {
            return false;
        }
        balance[depth - 1] += balance[depth] / 2;
    }
    balance[0] == 0
}

/// Where things lie in the pool.
struct Layout {
    n_inputs: usize,
    /// Words of a box.
    stride: usize,
    /// Boxes in the ring.
    capacity: usize,
    /// Boxes in the doubtful list, and its start.
    most_doubtful: usize,
    doubtful: usize,
    rule: usize,
    n_words: usize,
}

impl Layout {
    fn new(
        tables: &Tables,
        n_pieces: usize,
        rule: &Rule,
        budget: Budget,
        limits: &wgpu::Limits,
    ) -> Result<Self, Error> {
        let n_inputs = tables.n_inputs as usize;
        let stride = 2 * n_inputs + 3;
        let most_bytes = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(1 << 31);
        let n_rule = 2 * rule.disjuncts.len().max(2);
        // A third of the ring is being read while two thirds may be written; as many boxes may turn out doubtful as are read, in
        // each of a few rounds.
        let most = (most_bytes as usize / 4).saturating_sub(n_rule) / stride / 2;
        let capacity = (budget.open.max(n_pieces).saturating_mul(3).div_ceil(2)).max(3).min(most);
        if capacity < n_pieces.max(3) {
            let problem = format!("{n_pieces} boxes exceed the largest buffer");
            return Err(ErrorKind::OutOfMemory(problem).into());
        }
        let doubtful = capacity * stride;
        let rule = doubtful + capacity * stride;
        Ok(Self { n_inputs, stride, capacity, most_doubtful: capacity, doubtful, rule, n_words: rule + n_rule })
    }

    fn counters(&self, n_pieces: usize, rule: &Rule) -> Vec<u32> {
        let mut counters = vec![0; word::ALL];
        counters[word::N_OPEN] = n_pieces as u32;
        counters[word::LEAST] = f32::INFINITY.to_bits();
        counters[word::CAPACITY] = self.capacity as u32;
        counters[word::MOST_DOUBTFUL] = self.most_doubtful as u32;
        counters[word::DOUBTFUL_START] = self.doubtful as u32;
        counters[word::RULE] = self.rule as u32;
        counters[word::N_DISJUNCTS] = rule.disjuncts.len() as u32;
        counters
    }

    /// A box, and the input to split it at.
    fn piece(&self, words: &[u32]) -> (Piece, usize) {
        let (ends, rest) = words.split_at(2 * self.n_inputs);
        let ends = ends.iter().map(|&bits| f32::from_bits(bits)).collect();
        (Piece { ends, depth: rest[0], score: f32::from_bits(rest[1]) }, rest[2] as usize)
    }
}

/// Binds buffers in order.
fn group<'a>(
    device: &wgpu::Device,
    pipeline: &wgpu::ComputePipeline,
    buffers: impl IntoIterator<Item = &'a wgpu::Buffer>,
) -> wgpu::BindGroup {
    let entries: Vec<_> = buffers
        .into_iter()
        .enumerate()
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding: binding as u32, resource: buffer.as_entire_binding() })
        .collect();
    let layout = &pipeline.get_bind_group_layout(0);
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
}

/// Waits for everything submitted and returns parts of buffers, in words.
fn read(fused: &Fused, parts: &[(&wgpu::Buffer, usize, usize)]) -> Result<Vec<u32>, Error> {
    let Shared { device, queue, faults, .. } = &*fused.shared;
    let n_bytes = 4 * parts.iter().map(|&(_, _, n)| n as u64).sum::<u64>();
    if n_bytes == 0 {
        return Ok(Vec::new());
    }
    let copy = faults.catch(device, || {
        let copy = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("results"),
            size: n_bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut end = 0;
        for &(buffer, start, n) in parts.iter().filter(|part| part.2 > 0) {
            encoder.copy_buffer_to_buffer(buffer, 4 * start as u64, &copy, end, 4 * n as u64);
            end += 4 * n as u64;
        }
        queue.submit([encoder.finish()]);
        copy
    })?;
    Ok(bytemuck::pod_collect_to_vec(&faults.read(device, &copy, n_bytes)?))
}
