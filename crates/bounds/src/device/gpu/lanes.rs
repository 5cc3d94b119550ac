//! Lanes on a device: rows with lines of their own, optimised in few submissions without a look at any step in between.
//!
//! A *tile* is four lanes of one subdomain. Every step goes down (backward pass) and up (relaxed forward pass, which moves the
//! multipliers on its way); tiles whose lanes all rest drop out of the next step. Only what the caller asks for comes back.

mod batch;
pub mod params;
mod recording;
mod room;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::frame::Frame;
use super::kernel::{Bindings, Kernel, UNIFORM_STRIDE};
use super::schedule::Products;
use super::{AdapterKind, Gpu, Shared};
use crate::device::host::{Ascent, Ended, Goal, Keep, Proof, Scope, Split, Start};
use crate::error::{Error, ErrorKind};
use crate::kernels::Row;
use crate::program::Program;
use batch::{Batch, Tile, begun, own_splits, tiles_of};
use recording::{MOST_GAPS, Places, Recording, step_frame};
use room::{HEADER, Layout, N_BUFFERS, Needs, Size};
use schedule::{LanePass, LaneSchedule};

/// Floating-point operations of one submission, at most: what takes a slow adapter half a second, which no watchdog minds.
const MOST_FLOP: f64 = 5e11;
const MOST_SOFTWARE_FLOP: f64 = 2e10;
/// A step of less work than this is left to the host: about what one core does while a device launches the step's thirty kernels.
const LEAST_FLOP: f64 = 8e6;

/// The lanes of a program on a device.
pub struct GpuLanes {
    shared: Arc<Shared>,
    schedule: LaneSchedule,
    needs: Needs,
    n_inputs: usize,
    /// Of one submission, and of one step.
    most_flop: f64,
    least_flop: f64,
    pipelines: Vec<Option<wgpu::ComputePipeline>>,
    constants: wgpu::Buffer,
    tables: wgpu::Buffer,
    params: wgpu::Buffer,
    room: Mutex<Room>,
}

/// The buffers that depend on the number of lanes, kept from call to call.
struct Room {
    plan: Option<Plan>,
    /// Most tiles per submission: halved whenever the device runs out of memory.
    most: usize,
}

/// Buffers, in the order of [`Layout::bytes`].
struct Plan {
    bytes: [u64; N_BUFFERS],
    frames: wgpu::Buffer,
    state: wgpu::Buffer,
    marks: wgpu::Buffer,
    #[cfg(test)]
    coefficients: wgpu::Buffer,
    rows: wgpu::Buffer,
    book: wgpu::Buffer,
    duals: wgpu::Buffer,
    /// Mappable.
    results: wgpu::Buffer,
    group: wgpu::BindGroup,
}

/// One lane of a task.
#[derive(Debug, Clone, Copy)]
pub struct TaskLane<'a> {
    /// Which of the task's subdomains.
    pub subdomain: usize,
    /// What is bounded.
    pub row: Row,
    /// What it starts from.
    pub start: Start<'a>,
}

/// Lanes to optimise: those of one subdomain lie together.
#[derive(Debug, Clone, Copy)]
pub struct LaneTask<'a> {
    /// The node whose neurons are bounded.
    pub target: usize,
    /// Bounds of the nodes below it, with the device's lines and errors.
    pub scopes: &'a [Scope<f32>],
    /// The lanes.
    pub lanes: &'a [TaskLane<'a>],
    /// Per node, the neurons whose `α` starts and results list.
    pub entries: &'a [Vec<u32>],
    /// How to optimise.
    pub ascent: &'a Ascent,
    /// When a lane rests.
    pub goal: Goal,
    /// What to return.
    pub keep: Keep,
}

/// Stands for "no bound yet".
const UNBOUNDED: f32 = -3e38;

impl Gpu {
    /// Compiles the kernels of a program's lanes and uploads its weights.
    ///
    /// # Errors
    /// [`ErrorKind::NoDevice`] if lanes of such a program stay on the host; otherwise as [`Self::load`].
    pub fn load_lanes(&self, program: &Program<f32>) -> Result<GpuLanes, Error> {
        let is_software = self.shared.adapter.kind == AdapterKind::Software;
        let products = if is_software { Products::Direct } else { Products::Tiled };
        GpuLanes::new(Arc::clone(&self.shared), program, products)
    }
}

impl GpuLanes {
    fn new(shared: Arc<Shared>, program: &Program<f32>, products: Products) -> Result<Self, Error> {
        let schedule = LaneSchedule::new(program, products)?;
        let Shared { device, queue, faults, .. } = &*shared;
        let limits = device.limits();
        let largest_buffer = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let needs = Needs::new(program, &schedule, largest_buffer);
        let mut constants = program.constants.clone();
        // Kernels read them four by four.
        constants.resize(constants.len().next_multiple_of(4).max(4), 0.0);
        let mut tables = program.tables.clone();
        tables.resize(tables.len().max(1), 0);
        for (what, needed) in [("weights", constants.len()), ("tables", tables.len())] {
            if 4 * needed as u64 > largest_buffer {
                return Err(ErrorKind::TooLarge { what, needed }.into());
            }
        }
        let upload = |label, contents: &[u8], usage| faults.upload(device, queue, label, contents, usage);
        let constants = upload("constants", bytemuck::cast_slice(&constants), wgpu::BufferUsages::STORAGE)?;
        let tables = upload("tables", bytemuck::cast_slice(&tables), wgpu::BufferUsages::STORAGE)?;
        let params = upload("params", &schedule.params, wgpu::BufferUsages::UNIFORM)?;
        let mut pipelines = vec![None; Kernel::ALL.len()];
        let launches = schedule.passes.iter().flat_map(LanePass::launches).map(|launch| launch.kernel);
        for kernel in launches.chain([Kernel::AssignLanes, Kernel::DecideSplits, Kernel::CollectSplits]) {
            if pipelines[kernel as usize].is_none() {
                pipelines[kernel as usize] = Some(shared.pipelines.get(device, faults, kernel)?);
            }
        }
        let is_software = shared.adapter.kind == AdapterKind::Software;
        Ok(Self {
            n_inputs: program.n_inputs,
            most_flop: if is_software { MOST_SOFTWARE_FLOP } else { MOST_FLOP },
            // A software adapter is for tests and comparisons: it takes everything.
            least_flop: if is_software { 0.0 } else { LEAST_FLOP },
            shared,
            schedule,
            needs,
            pipelines,
            constants,
            tables,
            params,
            room: Mutex::new(Room { plan: None, most: usize::MAX }),
        })
    }

    /// Optimises lanes, as many at once as the device holds; none if the target has no optimised pass or there is too little to do.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] if not even four lanes fit; [`ErrorKind::Magnitude`] if a subdomain's error terms are not finite;
    /// [`ErrorKind::Device`] if the device fails.
    pub fn ascend(&self, task: &LaneTask) -> Result<Option<Vec<Ended<f32>>>, Error> {
        let Some(pass) = self.pass_for(task.target, task.lanes.len()) else { return Ok(None) };
        let mut ended: Vec<Ended<f32>> = task.lanes.iter().map(|lane| begun(task, &self.schedule, lane)).collect();
        let tiles = tiles_of(task, |lane| !ended[lane].is_empty);
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < tiles.len() {
            let n_wanted = (tiles.len() - done).min(room.most);
            let layout = self.layout(task, pass, &tiles[done..done + n_wanted])?;
            let n_tiles = layout.capacity();
            let attempt = self.prepare(&mut room, &layout).and_then(|plan| {
                let batch = Batch::new(task, pass, &self.schedule, &tiles[done..done + n_tiles]);
                self.submit((plan, &layout), task, pass, &batch, &mut ended)
            });
            match attempt {
                Ok(()) => done += n_tiles,
                Err(error) => {
                    room.plan = None;
                    if n_tiles <= 1 || !matches!(error.kind, ErrorKind::OutOfMemory(_)) {
                        return Err(error);
                    }
                    room.most = n_tiles / 2;
                }
            }
        }
        self.shared.tally.lanes.fetch_add(task.lanes.len() as u64, Ordering::Relaxed);
        Ok(Some(ended))
    }

    /// The pass of so many lanes; none if the host should optimise them.
    fn pass_for(&self, target: usize, n_lanes: usize) -> Option<&LanePass> {
        let pass = self.schedule.pass_of(target)?;
        (pass.flop * (n_lanes as f64 / 4.0) >= self.least_flop).then_some(pass)
    }

    /// Whether so many lanes are worth a device.
    pub fn takes(&self, target: usize, n_lanes: usize) -> bool {
        self.pass_for(target, n_lanes).is_some()
    }

    /// The layout for as many of these tiles as buffers can hold.
    fn layout(&self, task: &LaneTask, pass: &LanePass, tiles: &[Tile]) -> Result<Layout, Error> {
        let mut n_tiles = tiles.len();
        loop {
            match self.needs.layout(Self::size(task, pass, &tiles[..n_tiles])) {
                Some(layout) => return Ok(layout),
                None if n_tiles > 1 => n_tiles = n_tiles.div_ceil(2),
                None => return Err(ErrorKind::OutOfMemory("four lanes exceed the largest buffer".into()).into()),
            }
        }
    }

    /// Buffers that hold a layout: the last ones if they do.
    fn prepare<'r>(&self, room: &'r mut Room, layout: &Layout) -> Result<&'r Plan, Error> {
        let old = room.plan.as_ref().map_or([0; N_BUFFERS], |plan| plan.bytes);
        if old.iter().zip(&layout.bytes).any(|(old, new)| old < new) {
            // What is too small is freed before its successor is made. Powers of two, so that tasks that grow slowly do not plan anew
            // each time.
            room.plan = None;
            let most = self.needs.most_bytes();
            let mut bytes = layout.bytes;
            for (bytes, old) in bytes.iter_mut().zip(old) {
                *bytes = bytes.next_power_of_two().min(most).max(*bytes).max(old).max(256);
            }
            let plan = match self.allocate(bytes) {
                Err(Error { kind: ErrorKind::OutOfMemory(_) }) => self.allocate(layout.bytes)?,
                plan => plan?,
            };
            room.plan = Some(plan);
        }
        Ok(room.plan.as_ref().expect("just made or found"))
    }

    fn size(task: &LaneTask, pass: &LanePass, tiles: &[Tile]) -> Size {
        let lanes = || tiles.iter().flat_map(|tile| tile.lanes).flatten();
        let n_splits: usize = lanes().map(|lane| own_splits(task.lanes[lane].start.splits, pass).count()).sum();
        let first = tiles.first().map_or(0, |tile| tile.subdomain);
        let last = tiles.last().map_or(0, |tile| tile.subdomain);
        Size {
            n_tiles: tiles.len() as u64,
            n_subdomains: (last - first + 1) as u64,
            n_splits: n_splits as u64,
            n_frames: task.ascent.steps as u64 + 2,
            n_gaps: if task.keep.gaps > MOST_GAPS { 0 } else { task.keep.gaps as u64 },
            has_all_gaps: task.keep.gaps > MOST_GAPS,
            has_best: task.keep.proof,
        }
    }

    fn allocate(&self, bytes: [u64; N_BUFFERS]) -> Result<Plan, Error> {
        let Shared { device, faults, pipelines, .. } = &*self.shared;
        faults.catch(device, || {
            let buffer = |label, size, usage| {
                let label = Some(label);
                device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
            };
            let both_ways = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let memory = |label, size| buffer(label, size, wgpu::BufferUsages::STORAGE | both_ways);
            let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            let frames = buffer("lane frames", bytes[0], uniform);
            let state = memory("lane state", bytes[1]);
            let marks = memory("lane marks", bytes[2]);
            let coefficients = memory("lane coefficients", bytes[3]);
            let rows = memory("lane rows", bytes[4]);
            let book = memory("lane book", bytes[5]);
            let duals = memory("lane duals", bytes[6]);
            let readable = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let results = buffer("lane results", bytes[7], readable);
            let bindings = Bindings {
                params: &self.params,
                frames: &frames,
                constants: &self.constants,
                tables: &self.tables,
                state: &state,
                marks: &marks,
                coefficients: &coefficients,
                rows: &rows,
                book: &book,
                exchange: &duals,
            };
            let group = pipelines.bind(device, bindings);
            Plan {
                bytes,
                frames,
                state,
                marks,
                #[cfg(test)]
                coefficients,
                rows,
                book,
                duals,
                results,
                group,
            }
        })
    }

    /// Optimises one batch and fills in what its lanes end with.
    fn submit(
        &self,
        (plan, layout): (&Plan, &Layout),
        task: &LaneTask,
        pass: &LanePass,
        batch: &Batch,
        ended: &mut [Ended<f32>],
    ) -> Result<(), Error> {
        let Shared { device, queue, faults, .. } = &*self.shared;
        let ticket = self.shared.next_ticket();
        self.upload((plan, layout), task, batch, ticket)?;
        let is_over = || task.ascent.until.is_some_and(|until| Instant::now() >= until);
        let mut steps = task.ascent.steps;
        let per_submission = (self.most_flop / (pass.flop * batch.tiles.len() as f64)).clamp(1.0, 1e6) as usize;
        let mut first = 0;
        let mut is_first = true;
        while first <= steps {
            if is_over() {
                // One more look, which moves nothing.
                steps = first;
            }
            let last = (first + per_submission).min(steps + 1);
            faults.catch(device, || {
                let mut recording = Recording::new(self, (plan, layout), batch);
                if is_first {
                    recording.start(pass);
                }
                for step in first..last {
                    recording.step(pass, step, (step == steps, task.keep.proof));
                }
                if last <= steps {
                    // What still moves, for the look below.
                    recording.close_up(last);
                    recording.copy(&plan.book, 0, HEADER);
                }
                queue.submit([recording.finish()]);
            })?;
            is_first = false;
            first = last;
            if first <= steps {
                let words: Vec<u32> = bytemuck::pod_collect_to_vec(&faults.read(device, &plan.results, 4 * HEADER)?);
                expect_ticket(&words, ticket)?;
                if words[0] == 0 {
                    break;
                }
            }
        }
        let mut places = Places::default();
        let n_bytes = faults.catch(device, || {
            let mut recording = Recording::new(self, (plan, layout), batch);
            recording.end(pass, task.ascent.steps + 1, task.keep);
            places = recording.results(&self.needs, task.keep);
            let n_bytes = recording.copied;
            queue.submit([recording.finish()]);
            n_bytes
        })?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&faults.read(device, &plan.results, n_bytes)?);
        expect_ticket(&words, ticket)?;
        let found = Found { words: &words, places, capacity: layout.capacity() };
        for (t, tile) in batch.tiles.iter().enumerate() {
            for (r, lane) in tile.lanes.iter().enumerate() {
                if let Some(lane) = *lane {
                    self.read_lane((task, pass, batch), &found, (t, r), (lane, &mut ended[lane]))?;
                }
            }
        }
        Ok(())
    }

    /// What one lane ended with.
    fn read_lane(
        &self,
        (task, pass, batch): (&LaneTask, &LanePass, &Batch),
        found: &Found,
        (t, r): (usize, usize),
        (lane, end): (usize, &mut Ended<f32>),
    ) -> Result<(), Error> {
        let (bound, slack) = (found.float(found.places.best, t, r), found.float(found.places.best_slack, t, r));
        if !(bound.is_finite() && slack.is_finite() && bound.abs() < 3.1e38 && slack >= 0.0) {
            return Err(ErrorKind::Device("a bound came back that is none".into()).into());
        }
        // Untouched: no bound was finite.
        if bound > UNBOUNDED {
            (end.bound, end.slack) = (bound, slack);
        }
        let start = &task.lanes[lane].start;
        if let Some(low) = found.places.best_low.filter(|_| bound > UNBOUNDED) {
            let mut alpha = Vec::new();
            let is_relu = |node: usize| self.schedule.activations[node].is_some_and(|activation| activation.is_relu);
            for (node, neurons) in task.entries.iter().enumerate().filter(|(node, _)| is_relu(*node)) {
                let first = self.schedule.firsts[node] as usize;
                let slope = |&j: &u32| found.float(low, (first + j as usize) * found.capacity + t, r).clamp(0.0, 1.0);
                // Slopes above the target take no part.
                alpha.extend(neurons.iter().map(|j| if pass.is_relu[node] { slope(j) } else { 0.0 }));
            }
            let beta_of = |split: &Split| {
                let at = found.places.best_beta?;
                let row = self.schedule.firsts[split.node as usize] as usize + split.neuron as usize;
                let is_own = batch.split_of(lane, *split).is_some();
                is_own.then(|| found.float(at, row * found.capacity + t, r))
            };
            let beta = start.splits.iter().map(|(split, _)| beta_of(split).unwrap_or(0.0)).collect();
            end.proof = Some(Proof { alpha: alpha.into(), beta });
        }
        let rests = found.words[found.places.deeds + t] >> r & 1 != 0;
        if rests {
            return Ok(());
        }
        if let Some(bytes) = found.places.bytes {
            let mut alpha = Vec::new();
            let mut at = 0;
            for (node, neurons) in task.entries.iter().enumerate() {
                let is_moved = pass.is_relu.get(node).copied().unwrap_or(false);
                for &j in neurons {
                    let word = |row: usize| found.words[bytes + row * found.capacity + t] >> (8 * r) & 255;
                    alpha.push(if is_moved {
                        word(self.schedule.firsts[node] as usize + j as usize) as u8
                    } else {
                        start.alpha.get(at).copied().unwrap_or(0)
                    });
                    at += 1;
                }
            }
            end.alpha = alpha.into();
            let beta = |(split, _): &(Split, f32)| {
                let place = batch.split_of(lane, *split)?;
                Some(f32::from_bits(found.words[found.places.splits? + place + 3]))
            };
            end.beta = start.splits.iter().map(|split| beta(split).unwrap_or(0.0)).collect();
        }
        end.gaps = self.gaps(task, found, (t, r));
        if let Some(ends) = found.places.ends {
            let state = &task.scopes[task.lanes[lane].subdomain].state;
            let (lower, upper) = state[..2 * self.n_inputs].split_at(self.n_inputs);
            let is_upper = |i: usize| found.words[ends + i / 8 * found.capacity + t] >> (4 * (i % 8) + r) & 1 != 0;
            end.minimiser = (0..self.n_inputs).map(|i| if is_upper(i) { upper[i] } else { lower[i] }).collect();
        }
        Ok(())
    }

    /// The costliest neurons of a lane, most first.
    fn gaps(&self, task: &LaneTask, found: &Found, (t, r): (usize, usize)) -> Vec<(Split, f32)> {
        let neuron_at = |row: usize| {
            let is_it = |&node: &usize| {
                let (first, activation) = (self.schedule.firsts[node] as usize, self.schedule.activations[node]);
                activation.is_some_and(|activation| activation.is_relu && (first..first + activation.n).contains(&row))
            };
            let node = (0..self.schedule.firsts.len()).find(is_it)?;
            let neuron = row as u32 - self.schedule.firsts[node];
            Some(Split { node: node as u32, neuron, is_active: true })
        };
        let mut end = Ended::<f32>::unknown();
        let mut note = |row: usize, gap: f32| {
            if gap > 0.0 && gap.is_finite() {
                end.gaps.extend(neuron_at(row).map(|split| (split, gap)));
            }
        };
        if let Some(gaps) = found.places.gaps {
            for k in 0..task.keep.gaps {
                let place = gaps + 8 * k * found.capacity + 4 * t + r;
                note(found.words[place] as usize, f32::from_bits(found.words[place + 4 * found.capacity]));
            }
        } else if let Some(gaps) = found.places.all_gaps {
            for row in 0..self.schedule.n_rows as usize {
                note(row, found.float(gaps, row * found.capacity + t, r));
            }
        }
        end.order_gaps(task.keep.gaps);
        end.gaps
    }

    /// Writes the subdomains, the rows, what they start from, and the frames of all steps.
    fn upload(
        &self,
        (plan, layout): (&Plan, &Layout),
        task: &LaneTask,
        batch: &Batch,
        ticket: u32,
    ) -> Result<(), Error> {
        let Shared { device, queue, faults, .. } = &*self.shared;
        let (frame, n_tiles) = (&layout.frame, batch.tiles.len());
        let mut state: Vec<f32> = Vec::new();
        let mut marks: Vec<u32> = Vec::new();
        for scope in &task.scopes[batch.subdomains.clone()] {
            if scope.state.iter().any(|value| !value.is_finite()) {
                return Err(ErrorKind::Magnitude { node: "error terms".into(), magnitude: f64::INFINITY }.into());
            }
            state.extend_from_slice(&scope.state);
            marks.extend_from_slice(&scope.marks);
        }
        let owner = |tile: &Tile| (tile.subdomain - batch.subdomains.start) as u32;
        let owners: Vec<u32> = batch.tiles.iter().map(owner).collect();
        let places: Vec<u32> = (0..n_tiles as u32).collect();
        let mut best = vec![UNBOUNDED; 4 * n_tiles];
        best.resize(8 * n_tiles, 0.0);
        // Values reach everything.
        let n_values = self.schedule.n_slots - self.schedule.n_back_slots;
        let reaches = vec![0; 4 * n_values as usize * n_tiles];
        let first_value = frame.reaches + 4 * self.schedule.n_back_slots * frame.tile_capacity;
        let mut frames = vec![0_u8; (task.ascent.steps + 2) * UNIFORM_STRIDE];
        for (step, place) in frames.chunks_exact_mut(UNIFORM_STRIDE).enumerate() {
            let frame = step_frame(frame, task, batch, step);
            place[..size_of::<Frame>()].copy_from_slice(bytemuck::bytes_of(&frame));
        }
        faults.catch(device, || {
            let write = |buffer: &wgpu::Buffer, word: u32, words: &[u32]| {
                queue.write_buffer(buffer, 4 * u64::from(word), bytemuck::cast_slice(words));
            };
            queue.write_buffer(&plan.frames, 0, &frames);
            queue.write_buffer(&plan.state, 0, bytemuck::cast_slice(&state));
            write(&plan.marks, 0, &marks);
            write(&plan.book, 0, &[n_tiles as u32, 0, 0, ticket]);
            write(&plan.book, frame.owners, &owners);
            write(&plan.book, frame.places, &places);
            write(&plan.book, frame.subdomains, &owners);
            write(&plan.book, frame.words, &batch.words);
            write(&plan.book, frame.deeds, &batch.deeds);
            write(&plan.book, frame.splits, &batch.splits);
            write(&plan.book, first_value, &reaches);
            write(&plan.book, frame.bytes, &batch.bytes);
            // Best bounds and their slacks lie behind bias and slack.
            queue.write_buffer(&plan.rows, 2 * 16 * n_tiles as u64, bytemuck::cast_slice(&best));
        })
    }
}

/// Results as they came.
struct Found<'w> {
    words: &'w [u32],
    places: Places,
    capacity: usize,
}

impl Found<'_> {
    /// Lane `r` of element `at` of an array of four lanes.
    fn float(&self, array: usize, at: usize, r: usize) -> f32 {
        f32::from_bits(self.words[array + 4 * at + r])
    }
}

fn expect_ticket(words: &[u32], ticket: u32) -> Result<(), Error> {
    if words[3] == ticket {
        return Ok(());
    }
    Err(ErrorKind::Device("the results of another submission came back".into()).into())
}

impl fmt::Debug for GpuLanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuLanes").field("adapter", &self.shared.adapter).finish_non_exhaustive()
    }
}
