use super::schedule::LaneSchedule;
use crate::device::gpu::frame::Frame;
use crate::device::gpu::kernel::UNIFORM_STRIDE;
use crate::device::gpu::schedule::{MAX_WORKGROUPS, TILES};
use crate::program::Program;

/// Bytes that any one buffer may take for the sake of more lanes, if the device allows it.
const COMFORTABLE_BYTES: u64 = 2 << 30;
/// Words before the book's arrays: moving tiles, two unused, the ticket.
pub const HEADER: u64 = 4;

/// How much a submission must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub n_tiles: u64,
    pub n_subdomains: u64,
    pub n_splits: u64,
    /// Frames: one for every look, one for the gaps.
    pub n_frames: u64,
    /// The largest gaps of every lane.
    pub n_gaps: u64,
    /// Whether all gaps come back.
    pub has_all_gaps: bool,
    /// Whether the multipliers of the best bounds are kept apart.
    pub has_best: bool,
}

/// Buffers that depend on the lanes.
pub const N_BUFFERS: usize = 8;

/// Where everything of a submission lies.
#[derive(Debug, Clone)]
pub struct Layout {
    pub size: Size,
    pub frame: Frame,
    /// Bytes of frames, state, marks, coefficients, rows, book, duals, and of what comes back.
    pub bytes: [u64; N_BUFFERS],
}

impl Layout {
    /// Tiles.
    pub fn capacity(&self) -> usize {
        self.size.n_tiles as usize
    }
}

/// What a program's lanes need of memory.
#[derive(Debug, Clone)]
pub struct Needs {
    state_stride: u64,
    mark_stride: u64,
    n_inputs: u64,
    slot_len: u64,
    n_slots: u64,
    n_nodes: u64,
    n_rows: u64,
    n_kept: u64,
    /// Bytes of the largest buffer.
    largest_buffer: u64,
}

impl Needs {
    pub fn new(program: &Program<f32>, schedule: &LaneSchedule, largest_buffer: u64) -> Self {
        Self {
            state_stride: program.state_stride as u64,
            mark_stride: program.mark_stride.max(1) as u64,
            n_inputs: program.n_inputs as u64,
            slot_len: program.slot_len.max(1) as u64,
            n_slots: u64::from(schedule.n_slots),
            n_nodes: program.nodes.len() as u64,
            n_rows: u64::from(schedule.n_rows),
            n_kept: u64::from(schedule.n_kept),
            // Shaders count elements in 32 bits; what they count one by one are floats.
            largest_buffer: largest_buffer.min(4 * u64::from(u32::MAX)),
        }
    }

    /// Words of the minimiser's ends, per tile.
    pub fn n_ends(&self) -> u64 {
        self.n_inputs.div_ceil(8)
    }

    /// Rows of the duals.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The layout of a size; none if a buffer would be too large.
    pub fn layout(&self, size: Size) -> Option<Layout> {
        let Size { n_tiles, n_subdomains, n_splits, n_gaps, has_all_gaps, has_best, .. } = size;
        // The book.
        let owners = HEADER;
        let places = owners + n_tiles;
        let subdomains = places + n_tiles;
        let words = subdomains + n_tiles;
        let deeds = words + 4 * n_tiles;
        let reaches = deeds + n_tiles;
        let splits = reaches + 4 * self.n_slots * n_tiles;
        let bytes = splits + 4 * n_splits;
        let ends = bytes + self.n_rows * n_tiles;
        let gaps = ends + self.n_ends() * n_tiles;
        let book = gaps + 8 * n_gaps * n_tiles;
        // The duals.
        let with_splits = |n: u64| if n_splits > 0 { n } else { 0 };
        let with_best = |n: u64| if has_best { n } else { 0 };
        let mut end = 0;
        let mut place = |n_rows: u64| {
            let start = end;
            end += n_rows * n_tiles;
            start
        };
        let kept = place(self.n_kept);
        let [low, first_moment, second_moment] = [(); 3].map(|()| place(self.n_rows));
        let [beta, unit] = [(); 2].map(|()| place(with_splits(self.n_rows)));
        let means = place(with_splits(self.n_nodes));
        let best_low = place(with_best(self.n_rows));
        let best_beta = place(with_best(with_splits(self.n_rows)));
        let duals = end;
        let packed = self.n_rows + self.n_ends() + 8 * n_gaps;
        // All gaps, or the best multipliers, come back as they are.
        let unpacked = 4 * self.n_rows * (u64::from(has_all_gaps) + 2 * u64::from(has_best));
        let results = HEADER + (9 + packed + unpacked) * n_tiles + 4 * n_splits;
        let layout = Layout {
            size,
            frame: Frame {
                state_stride: self.state_stride as u32,
                mark_stride: self.mark_stride as u32,
                n_inputs: self.n_inputs as u32,
                tile_capacity: n_tiles as u32,
                slot_size: (self.slot_len * n_tiles) as u32,
                chunk_tiles: n_tiles as u32,
                n_chunks: 1,
                owners: owners as u32,
                reaches: reaches as u32,
                places: places as u32,
                subdomains: subdomains as u32,
                words: words as u32,
                deeds: deeds as u32,
                splits: splits as u32,
                bytes: bytes as u32,
                ends: ends as u32,
                gaps: gaps as u32,
                low: low as u32,
                kept: kept as u32,
                first_moment: first_moment as u32,
                second_moment: second_moment as u32,
                beta: beta as u32,
                unit: unit as u32,
                means: means as u32,
                best_low: best_low as u32,
                best_beta: best_beta as u32,
                ..Frame::default()
            },
            bytes: [
                size.n_frames * UNIFORM_STRIDE as u64,
                4 * n_subdomains * self.state_stride,
                4 * n_subdomains * self.mark_stride,
                16 * self.slot_len * self.n_slots * n_tiles,
                4 * 16 * n_tiles,
                4 * book,
                16 * duals,
                4 * results,
            ],
        };
        let most = if n_tiles == 1 { self.largest_buffer } else { self.most_bytes() };
        let is_small = n_tiles <= u64::from(TILES * MAX_WORKGROUPS) && layout.bytes.iter().all(|&bytes| bytes <= most);
        is_small.then_some(layout)
    }

    /// Bytes that a buffer may take for the sake of more lanes.
    pub fn most_bytes(&self) -> u64 {
        self.largest_buffer.min(COMFORTABLE_BYTES)
    }
}
