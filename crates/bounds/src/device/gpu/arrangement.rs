use super::frame::Frame;
use super::schedule::{MAX_WORKGROUPS, Pass, Schedule, Task};
use crate::program::Program;

/// Most subdomains per submission: one workgroup each along one dimension.
pub const MAX_SUBDOMAINS: usize = MAX_WORKGROUPS as usize;
/// Most chunks of rows that a pass may need when several subdomains share a submission. Chunks are recorded for the worst case
/// (every neuron undecided) and an empty one is not free.
const MAX_CHUNKS: u64 = 16;
/// Bytes that any one buffer may take, if the device allows it, for the sake of more subdomains or rows: enough to fill the
/// largest devices. A single subdomain may have more.
const COMFORTABLE_BYTES: u64 = 1 << 30;
/// Tiles per workgroup, times the workgroups along one dimension.
const MAX_TILES: u64 = 8 * MAX_WORKGROUPS as u64;
const HEADER: u64 = 4;

/// What a program needs of memory, per subdomain and per row.
#[derive(Debug, Clone)]
pub struct Needs {
    state_stride: u64,
    mark_stride: u64,
    n_inputs: u64,
    /// Rows of the result.
    n_rows: u64,
    /// Four-row elements of one slot, per tile, and number of slots.
    slot_len: u64,
    n_slots: u64,
    /// State: bounds of the last node, the result of a program without an objective.
    output: (u32, u32),
    passes: Vec<Pass>,
    /// Bytes of the largest buffer.
    largest_buffer: u64,
    /// Most bytes for the coefficients.
    pub coefficient_bytes: u64,
}

/// Where everything of a submission of up to `capacity` subdomains lies.
#[derive(Debug, Clone)]
pub struct Arrangement {
    /// Most subdomains.
    pub capacity: usize,
    /// The frame of forward kernels, then those of each pass, one per chunk.
    pub frames: Vec<Frame>,
    /// In the order of the program.
    pub passes: Vec<Place>,
    /// Buffer sizes in bytes.
    pub state: u64,
    pub marks: u64,
    pub coefficients: u64,
    pub rows: u64,
    pub book: u64,
    pub arguments: u64,
    pub exchange: u64,
    /// Bytes at the start of the exchange that hold results.
    pub results: u64,
    /// Rows per subdomain of the result.
    pub n_rows: usize,
    /// Whether the slopes of the rows are stored.
    pub has_slopes: bool,
    /// Whether no more subdomains would fit.
    pub is_full: bool,
}

/// The chunks of one pass.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its first frame.
    pub frame: usize,
    /// How many follow.
    pub n_chunks: u32,
}

impl Needs {
    pub fn new(program: &Program<f32>, schedule: &Schedule, largest_buffer: u64) -> Self {
        let passes = schedule.tasks.iter().filter_map(|task| match task {
            Task::Forward(_) => None,
            Task::Pass(pass) => Some(pass.clone()),
        });
        let passes: Vec<_> = passes.collect();
        let (at, n) = program.nodes.last().map_or((0, 0), |&(at, n)| (at as u32, n as u32));
        let objective = passes.iter().rev().find(|pass| pass.select.is_none());
        let n_rows = objective.map_or(2 * u64::from(n), |pass| u64::from(pass.n_neurons) * u64::from(pass.n_ends));
        Self {
            state_stride: program.state_stride as u64,
            mark_stride: program.mark_stride.max(1) as u64,
            n_inputs: program.n_inputs as u64,
            n_rows,
            slot_len: program.slot_len.max(1) as u64,
            n_slots: program.n_slots.max(1) as u64,
            output: (at, n),
            passes,
            // Shaders count elements in 32 bits.
            largest_buffer: largest_buffer.min(u64::from(u32::MAX)),
            coefficient_bytes: COMFORTABLE_BYTES,
        }
    }

    /// The arrangement for as many of `n_wanted` subdomains as one submission can hold; none if even one is too many.
    pub fn arrange(&self, n_wanted: usize, has_slopes: bool) -> Option<Arrangement> {
        let n_wanted = n_wanted.clamp(1, MAX_SUBDOMAINS);
        if let Some(all) = self.arrange_exactly(n_wanted, has_slopes) {
            return Some(Arrangement { is_full: n_wanted == MAX_SUBDOMAINS, ..all });
        }
        // What fits for more fits for fewer: bisection.
        let mut best = self.arrange_exactly(1, has_slopes)?;
        let mut too_many = n_wanted;
        while best.capacity + 1 < too_many {
            let middle = best.capacity.midpoint(too_many);
            match self.arrange_exactly(middle, has_slopes) {
                Some(arrangement) => best = arrangement,
                None => too_many = middle,
            }
        }
        Some(Arrangement { is_full: true, ..best })
    }

    fn arrange_exactly(&self, capacity: usize, has_slopes: bool) -> Option<Arrangement> {
        let n = capacity as u64;
        let bytes_per_tile = 16 * self.slot_len * self.n_slots;
        let affordable = (self.coefficient_bytes.min(self.largest_buffer) / bytes_per_tile).min(MAX_TILES);
        let most_tiles = self.passes.iter().map(|pass| n * pass.tiles_each()).max().unwrap_or(0);
        let tile_capacity = affordable.min(most_tiles.max(1));
        if tile_capacity == 0 {
            return None;
        }
        // The book: four words, the arguments, the first tiles, the owners, the reaches.
        let n_chunks = |pass: &Pass| (n * pass.tiles_each()).div_ceil(tile_capacity).max(1);
        if n > 1 && self.passes.iter().any(|pass| n_chunks(pass) > MAX_CHUNKS) {
            return None;
        }
        let n_arguments = |pass: &Pass| 3 * n_chunks(pass) * u64::from(pass.n_grids);
        let arguments = self.passes.iter().map(n_arguments).max().unwrap_or(0).max(3);
        let firsts = HEADER + arguments;
        let owners = firsts + n + 1;
        let reaches = owners + most_tiles.max(1);
        // The exchange: four words, the results, the inputs, the scores.
        let lower = HEADER;
        let slack = lower + n * self.n_rows;
        let split = slack + n * self.n_rows;
        let slopes = split + n;
        let inputs = slopes + if has_slopes { n * self.n_rows * self.n_inputs } else { 0 };

        let scores = inputs + n * 2 * self.n_inputs;

        let base = Frame {
            state_stride: self.state_stride as u32,
            mark_stride: self.mark_stride as u32,
            n_inputs: self.n_inputs as u32,
            tile_capacity: tile_capacity as u32,
            slot_size: (self.slot_len * tile_capacity) as u32,
            firsts: firsts as u32,
            owners: owners as u32,
            arguments: HEADER as u32,
            reaches: reaches as u32,
            list: self.output.0,
            is_objective: 1,
            n_fixed: self.output.1,
            n_ends: 2,
            lower: lower as u32,
            slack: slack as u32,
            split: split as u32,
            slopes: slopes as u32,
            inputs: inputs as u32,
            scores: scores as u32,
            ..Frame::default()
        };
        let arrangement = Arrangement {
            capacity,
            frames: Vec::new(),
            passes: Vec::new(),
            state: 4 * n * self.state_stride,
            marks: 4 * n * self.mark_stride,
            coefficients: bytes_per_tile * tile_capacity,
            rows: 2 * 16 * tile_capacity,
            book: 4 * (reaches + 4 * self.n_slots * tile_capacity),
            arguments: 4 * arguments,
            exchange: 4 * (scores + n * 2 * self.n_inputs),
            results: 4 * inputs,
            n_rows: self.n_rows as usize,
            has_slopes,
            is_full: false,
        };
        let sizes = [arrangement.state, arrangement.marks, arrangement.rows, arrangement.book, arrangement.exchange];
        let most = if n == 1 { self.largest_buffer } else { self.largest_buffer.min(COMFORTABLE_BYTES) };
        if sizes.iter().any(|&size| size > most) {
            return None;
        }
        Some(self.with_frames(arrangement, base, n_chunks))
    }

    fn with_frames(&self, mut arrangement: Arrangement, base: Frame, n_chunks: impl Fn(&Pass) -> u64) -> Arrangement {
        arrangement.frames.push(base);
        for pass in &self.passes {
            let (tiles, n_chunks) = (base.tile_capacity, n_chunks(pass) as u32);
            let is_objective = pass.select.is_none();
            arrangement.passes.push(Place { frame: arrangement.frames.len(), n_chunks });
            arrangement.frames.extend((0..n_chunks).map(|chunk| Frame {
                chunk_tiles: tiles,
                n_chunks,
                first_tile: chunk * tiles,
                grids: pass.grids,
                n_grids: pass.n_grids,
                list: pass.list,
                is_objective: u32::from(is_objective),
                n_fixed: pass.n_neurons,
                n_ends: pass.n_ends,
                ..base
            }));
        }
        arrangement
    }
}
