use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::Shared;
use super::arrangement::{Arrangement, MAX_SUBDOMAINS, Needs, Place};
use super::kernel::{Bindings, Kernel, UNIFORM_STRIDE};
use super::schedule::{Launch, MAX_WORKGROUPS, Pass, Products, Schedule, Task};
use crate::device::host::{Raw, Request};
use crate::error::{Error, ErrorKind};
use crate::program::Program;

/// A program on a device, one dispatch per step: its kernels compiled, its weights uploaded.
pub struct Stepwise {
    shared: Arc<Shared>,
    schedule: Schedule,
    needs: Needs,
    n_inputs: usize,
    /// By [`Kernel`]; those that the program uses.
    pipelines: Vec<Option<wgpu::ComputePipeline>>,
    constants: wgpu::Buffer,
    tables: wgpu::Buffer,
    params: wgpu::Buffer,
    room: Mutex<Room>,
    /// Most subdomains that memory is pretended to hold.
    #[cfg(test)]
    pub(super) pretended: usize,
}

/// The buffers that depend on the batch's size, kept from call to call.
struct Room {
    plan: Option<Plan>,
    /// Most subdomains per submission: halved whenever the device runs out of memory.
    most: usize,
}

/// Buffers for submissions of up to a number of subdomains.
struct Plan {
    arrangement: Arrangement,
    book: wgpu::Buffer,
    exchange: wgpu::Buffer,
    /// Dispatch arguments, copied from the book: a buffer cannot be written by a kernel while it directs another.
    arguments: wgpu::Buffer,
    /// Results, mappable.
    results: wgpu::Buffer,
    group: wgpu::BindGroup,
    /// State, marks, coefficients, rows.
    #[cfg(test)]
    inspected: [wgpu::Buffer; 4],
}

/// Where to stop early: for tests.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// After this many steps of the program.
    pub n_steps: usize,
    /// If the last of them is a pass: after this many of its kernels (seed, walk, end), and after its first chunk of rows.
    pub n_kernels: usize,
}

impl Stepwise {
    pub(super) fn new(shared: Arc<Shared>, program: &Program<f32>, products: Products) -> Result<Self, Error> {
        let schedule = Schedule::new(program, products)?;
        let Shared { device, queue, faults, .. } = &*shared;
        let limits = device.limits();
        let largest_buffer = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let needs = Needs::new(program, &schedule, largest_buffer);
        let mut constants = program.constants.clone();
        constants.extend_from_slice(&schedule.set);
        // Kernels read them four by four.
        constants.resize(constants.len().next_multiple_of(4).max(4), 0.0);
        let sizes = [("weights", constants.len()), ("tables", schedule.tables.len())];
        for (what, needed) in sizes {
            if 4 * needed as u64 > largest_buffer {
                return Err(ErrorKind::TooLarge { what, needed }.into());
            }
        }
        if needs.arrange(1, false).is_none() {
            let problem = format!("one subproblem needs buffers of more than {largest_buffer} bytes");
            return Err(ErrorKind::OutOfMemory(problem).into());
        }
        let upload = |label, contents: &[u8], usage| faults.upload(device, queue, label, contents, usage);
        let constants = upload("constants", bytemuck::cast_slice(&constants), wgpu::BufferUsages::STORAGE)?;
        let tables = upload("tables", bytemuck::cast_slice(&schedule.tables), wgpu::BufferUsages::STORAGE)?;
        let params = upload("params", &schedule.params, wgpu::BufferUsages::UNIFORM)?;
        let mut pipelines = vec![None; Kernel::ALL.len()];
        for kernel in kernels_of(&schedule) {
            if pipelines[kernel as usize].is_none() {
                pipelines[kernel as usize] = Some(shared.pipelines.get(device, faults, kernel)?);
            }
        }
        let n_inputs = program.n_inputs;
        let room = Mutex::new(Room { plan: None, most: MAX_SUBDOMAINS });
        Ok(Self {
            shared,
            schedule,
            needs,
            n_inputs,
            pipelines,
            constants,
            tables,
            params,
            room,
            #[cfg(test)]
            pretended: usize::MAX,
        })
    }

    /// Bounds every box of a batch; one submission for as many as the device holds.
    ///
    /// # Errors
    /// As [`super::GpuProgram::bound`].
    pub fn bound(&self, request: Request<f32>) -> Result<Raw<f32>, Error> {
        let n = self.n_inputs;
        check_lengths(n, request)?;
        let n_boxes = request.lower.len() / n.max(1);
        let mut raw = Raw::empty();
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < n_boxes {
            let attempt = self.prepare(&mut room, n_boxes - done, request.wants_coefficients).and_then(|plan| {
                let end = n_boxes.min(done + plan.arrangement.capacity);
                let part = Request {
                    lower: &request.lower[done * n..end * n],
                    upper: &request.upper[done * n..end * n],
                    ..request
                };
                self.submit(plan, part, &mut raw)?;
                Ok(end)
            });
            match attempt {
                Ok(end) => done = end,
                Err(error) => {
                    let capacity = room.plan.take().map_or(0, |plan| plan.arrangement.capacity);
                    if capacity <= 1 || !matches!(error.kind, ErrorKind::OutOfMemory(_)) {
                        return Err(error);
                    }
                    room.most = capacity / 2;
                }
            }
        }
        Ok(raw)
    }

    /// A plan for `n_wanted` subdomains, or for as many of them as fit: the last one if it will do.
    fn prepare<'r>(&self, room: &'r mut Room, n_wanted: usize, has_slopes: bool) -> Result<&'r Plan, Error> {
        let is_enough = |plan: &Plan| {
            let Arrangement { capacity, is_full, has_slopes: has, .. } = plan.arrangement;
            (capacity >= n_wanted.min(room.most) || is_full) && (has || !has_slopes)
        };
        // An old plan that will not do is freed before its successor is made.
        if let Some(plan) = room.plan.take().filter(is_enough) {
            return Ok(room.plan.insert(plan));
        }
        loop {
            // A power of two, so that batches that grow slowly do not plan anew each time.
            let arrangement = self.needs.arrange(n_wanted.next_power_of_two().min(room.most), has_slopes);
            let arrangement = arrangement.ok_or_else(|| {
                let problem = "one subproblem's results and coefficients exceed the largest buffer".to_owned();
                Error::from(ErrorKind::OutOfMemory(problem))
            })?;
            let capacity = arrangement.capacity;
            match self.allocate(arrangement) {
                Err(Error { kind: ErrorKind::OutOfMemory(_) }) if capacity > 1 => room.most = capacity / 2,
                plan => return Ok(room.plan.insert(plan?)),
            }
        }
    }

    fn allocate(&self, arrangement: Arrangement) -> Result<Plan, Error> {
        #[cfg(test)]
        if arrangement.capacity > self.pretended {
            return Err(ErrorKind::OutOfMemory("pretended".into()).into());
        }
        let Shared { device, queue, faults, .. } = &*self.shared;
        let mut frames = vec![0_u8; arrangement.frames.len() * UNIFORM_STRIDE];
        for (place, frame) in frames.chunks_exact_mut(UNIFORM_STRIDE).zip(&arrangement.frames) {
            place[..size_of_val(frame)].copy_from_slice(bytemuck::bytes_of(frame));
        }
        let frames = faults.upload(device, queue, "frames", &frames, wgpu::BufferUsages::UNIFORM)?;
        faults.catch(device, || {
            let plan = self.allocate_now(arrangement, &frames);
            #[cfg(test)]
            poison(queue, &plan);
            plan
        })
    }

    fn allocate_now(&self, arrangement: Arrangement, frames: &wgpu::Buffer) -> Plan {
        let Shared { device, pipelines, .. } = &*self.shared;
        let buffer = |label, size: u64, usage| {
            let size = size.max(16);
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let both_ways = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let inspected = if cfg!(test) { both_ways } else { wgpu::BufferUsages::empty() };
        let memory = |label, size| buffer(label, size, wgpu::BufferUsages::STORAGE | inspected);
        let state = memory("state", arrangement.state);
        let marks = memory("marks", arrangement.marks);
        let coefficients = memory("coefficients", arrangement.coefficients);
        let rows = memory("rows", arrangement.rows);
        let storage = wgpu::BufferUsages::STORAGE;
        let book = buffer("book", arrangement.book, storage | inspected | wgpu::BufferUsages::COPY_SRC);
        let exchange = buffer("exchange", arrangement.exchange, storage | both_ways);
        let arguments = wgpu::BufferUsages::INDIRECT | wgpu::BufferUsages::COPY_DST;
        let arguments = buffer("arguments", arrangement.arguments, arguments);
        let results = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let results = buffer("results", arrangement.results, results);
        let group = pipelines.bind(
            device,
            Bindings {
                params: &self.params,
                frames,
                constants: &self.constants,
                tables: &self.tables,
                state: &state,
                marks: &marks,
                coefficients: &coefficients,
                rows: &rows,
                book: &book,
                exchange: &exchange,
            },
        );
        Plan {
            arrangement,
            book,
            exchange,
            arguments,
            results,
            group,
            #[cfg(test)]
            inspected: [state, marks, coefficients, rows],
        }
    }

    /// Bounds up to a plan's capacity of boxes and appends the results.
    fn submit(&self, plan: &Plan, request: Request<f32>, raw: &mut Raw<f32>) -> Result<(), Error> {
        let Shared { device, queue, faults, .. } = &*self.shared;
        let arrangement = &plan.arrangement;
        let n_boxes = request.lower.len() / self.n_inputs.max(1);
        let ticket = self.shared.next_ticket();
        self.upload(plan, request, ticket)?;
        faults.catch(device, || {
            let mut encoder = self.encode(plan, n_boxes, request, None);
            encoder.copy_buffer_to_buffer(&plan.exchange, 0, &plan.results, 0, arrangement.results);
            queue.submit([encoder.finish()]);
        })?;
        let bytes = faults.read(device, &plan.results, arrangement.results)?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        if words[3] != ticket {
            return Err(ErrorKind::Device("the results of another submission came back".into()).into());
        }
        let frame = &arrangement.frames[0];
        let floats =
            |start: u32, n: usize| words[start as usize..start as usize + n].iter().map(|&bits| f32::from_bits(bits));
        let n_rows = n_boxes * arrangement.n_rows;
        raw.lower.extend(floats(frame.lower, n_rows));
        raw.slack.extend(floats(frame.slack, n_rows));
        if request.wants_split {
            raw.split.extend_from_slice(&words[frame.split as usize..][..n_boxes]);
        }
        let has_objective = self.passes().any(|pass| pass.select.is_none());
        if request.wants_coefficients && has_objective {
            raw.coefficients.extend(floats(frame.slopes, n_rows * self.n_inputs));
        }
        let n_unstable = u64::from(words[1]) + (u64::from(words[2]) << 32);
        raw.n_unstable += n_unstable;
        // Both ends of each undecided neuron, and the objective.
        raw.n_rows += 2 * n_unstable + if has_objective { n_rows as u64 } else { 0 };
        Ok(())
    }

    /// Writes the number of boxes, what the results are recognised by, and the boxes.
    fn upload(&self, plan: &Plan, request: Request<f32>, ticket: u32) -> Result<(), Error> {
        let Shared { device, queue, faults, .. } = &*self.shared;
        let n = self.n_inputs.max(1);
        let n_boxes = request.lower.len() / n;
        let boxes = request.lower.chunks_exact(n).zip(request.upper.chunks_exact(n));
        let boxes: Vec<f32> = boxes.flat_map(|(lower, upper)| lower.iter().chain(upper).copied()).collect();
        faults.catch(device, || {
            queue.write_buffer(&plan.exchange, 0, bytemuck::cast_slice(&[n_boxes as u32, 0, 0, ticket]));
            let inputs = 4 * u64::from(plan.arrangement.frames[0].inputs);
            queue.write_buffer(&plan.exchange, inputs, bytemuck::cast_slice(&boxes));
        })
    }

    /// Records the whole program for the first `n_boxes` subdomains.
    fn encode(&self, plan: &Plan, n_boxes: usize, request: Request<f32>, stop: Option<Stop>) -> wgpu::CommandEncoder {
        let mut recording = Recording {
            loaded: self,
            plan,
            n_boxes: n_boxes as u32,
            encoder: self.shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()),
        };
        recording.start();
        let n_steps = stop.map_or(self.schedule.tasks.len(), |stop| stop.n_steps);
        let mut places = plan.arrangement.passes.iter();
        for (step, task) in self.schedule.tasks[..n_steps].iter().enumerate() {
            match task {
                Task::Forward(launch) => recording.forward(*launch),
                Task::Pass(pass) => {
                    let place = *places.next().expect("every pass has a place");
                    let n_kernels = stop.filter(|_| step + 1 == n_steps).map(|stop| stop.n_kernels);
                    recording.pass(pass, place, request, n_kernels);
                }
            }
        }
        if stop.is_none() && self.passes().all(|pass| pass.select.is_some()) {
            recording.store_intervals();
        }
        recording.encoder
    }

    fn passes(&self) -> impl Iterator<Item = &Pass> {
        self.schedule.tasks.iter().filter_map(|task| match task {
            Task::Forward(_) => None,
            Task::Pass(pass) => Some(pass),
        })
    }
}

impl fmt::Debug for Stepwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepwise").field("adapter", &self.shared.adapter).finish_non_exhaustive()
    }
}

/// Whether a request's boxes are of a program's size.
pub fn check_lengths(n_inputs: usize, request: Request<f32>) -> Result<(), Error> {
    let Request { lower, upper, .. } = request;
    if lower.len() == upper.len() && lower.len().is_multiple_of(n_inputs.max(1)) {
        return Ok(());
    }
    let problem = format!("{} lower and {} upper ends for boxes of {n_inputs}", lower.len(), upper.len());
    Err(ErrorKind::Region { subproblem: 0, problem }.into())
}

/// Fills what kernels must not read before they write it with what would ruin every result.
#[cfg(test)]
fn poison(queue: &wgpu::Queue, plan: &Plan) {
    let [_, _, coefficients, rows] = &plan.inspected;
    for buffer in [coefficients, rows, &plan.book] {
        // Bytes 0x60: 6e19 as a float; as a reach, an empty block of a large plane.
        queue.write_buffer(buffer, 0, &vec![0x60; buffer.size() as usize]);
    }
}

/// The kernels that a schedule may launch.
fn kernels_of(schedule: &Schedule) -> Vec<Kernel> {
    let mut kernels = vec![Kernel::LoadInputs, Kernel::StoreIntervals];
    for task in &schedule.tasks {
        match task {
            Task::Forward(launch) => kernels.push(launch.kernel),
            Task::Pass(pass) => {
                kernels.extend([Kernel::Select, Kernel::AssignRows, Kernel::AssignOwners]);
                kernels.extend([Kernel::SplitShare, Kernel::SplitScore]);
                kernels.extend(pass.walk.iter().chain(&pass.over_set).map(|launch| launch.kernel));
                if pass.select.is_none() {
                    kernels.extend([Kernel::SplitChoice, Kernel::StoreSlopes]);
                }
            }
        }
    }
    kernels
}

/// Workgroups in two dimensions, as few too many as possible.
fn folded(n_workgroups: u64) -> [u32; 2] {
    let y = n_workgroups.div_ceil(u64::from(MAX_WORKGROUPS)).max(1);
    [n_workgroups.div_ceil(y) as u32, y as u32]
}

/// A submission in the making.
struct Recording<'a> {
    loaded: &'a Stepwise,
    plan: &'a Plan,
    n_boxes: u32,
    encoder: wgpu::CommandEncoder,
}

impl Recording<'_> {
    fn start(&mut self) {
        let n_values = 2 * self.loaded.n_inputs as u64 * u64::from(self.n_boxes);
        self.over_all(Kernel::LoadInputs, 0, n_values);
    }

    fn forward(&mut self, launch: Launch) {
        self.over_all(launch.kernel, launch.params, u64::from(launch.extent) * u64::from(self.n_boxes));
    }

    fn store_intervals(&mut self) {
        self.over_all(Kernel::StoreIntervals, 0, self.plan.arrangement.n_rows as u64 * u64::from(self.n_boxes));
    }

    /// One kernel over a linear range, folded into two dimensions.
    fn over_all(&mut self, kernel: Kernel, params: u32, n_invocations: u64) {
        let [x, y] = folded(n_invocations.div_ceil(64));
        self.with_pass(|recording, pass| {
            recording.set(pass, kernel, params, 0);
            pass.dispatch_workgroups(x, y, 1);
        });
    }

    fn pass(&mut self, pass: &Pass, place: Place, request: Request<f32>, n_kernels: Option<usize>) {
        self.with_pass(|recording, commands| {
            if let Some(select) = pass.select {
                recording.set(commands, Kernel::Select, select, place.frame);
                commands.dispatch_workgroups(recording.n_boxes, 1, 1);
            }
            recording.set(commands, Kernel::AssignRows, 0, place.frame);
            commands.dispatch_workgroups(1, 1, 1);
            recording.set(commands, Kernel::AssignOwners, 0, place.frame);
            commands.dispatch_workgroups(recording.n_boxes, 1, 1);
        });
        let start = 4 * u64::from(self.plan.arrangement.frames[place.frame].arguments);
        let n_bytes = 12 * u64::from(place.n_chunks) * u64::from(pass.n_grids);
        self.encoder.copy_buffer_to_buffer(&self.plan.book, start, &self.plan.arguments, 0, n_bytes);
        self.with_pass(|recording, commands| {
            let n_chunks = if n_kernels.is_some() { 1 } else { place.n_chunks };
            for chunk in 0..n_chunks {
                let frame = place.frame + chunk as usize;
                let walk = &pass.walk[..n_kernels.unwrap_or(usize::MAX).min(pass.walk.len())];
                let arguments = |extent: u32| 12 * u64::from(chunk * pass.n_grids + extent);
                for launch in walk {
                    recording.set(commands, launch.kernel, launch.params, frame);
                    commands.dispatch_workgroups_indirect(&recording.plan.arguments, arguments(launch.extent));
                }
                if n_kernels.is_some_and(|n| n <= pass.walk.len()) {
                    continue;
                }
                if let Some(launch) = pass.over_set {
                    recording.set(commands, launch.kernel, launch.params, frame);
                    commands.dispatch_workgroups_indirect(&recording.plan.arguments, arguments(launch.extent));
                }
                if n_kernels.is_some() {
                    continue;
                }
                let end = pass.concretize();
                if request.wants_coefficients && pass.select.is_none() {
                    recording.set(commands, Kernel::StoreSlopes, end.params, frame);
                    commands.dispatch_workgroups_indirect(&recording.plan.arguments, arguments(end.extent));
                }
                if request.wants_split {
                    recording.set(commands, Kernel::SplitShare, end.params, frame);
                    commands.dispatch_workgroups_indirect(&recording.plan.arguments, arguments(end.extent));
                    let n_workgroups = u64::from(recording.n_boxes) * recording.loaded.n_inputs as u64;
                    let [x, y] = folded(n_workgroups);
                    recording.set(commands, Kernel::SplitScore, end.params, frame);
                    commands.dispatch_workgroups(x, y, 1);
                }
            }
            if request.wants_split && pass.select.is_none() && n_kernels.is_none() {
                recording.set(commands, Kernel::SplitChoice, pass.concretize().params, place.frame);
                commands.dispatch_workgroups(recording.n_boxes, 1, 1);
            }
        });
    }

    fn with_pass(&mut self, record: impl FnOnce(&Self, &mut wgpu::ComputePass<'static>)) {
        let mut pass = self.encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()).forget_lifetime();
        record(self, &mut pass);
    }

    fn set(&self, pass: &mut wgpu::ComputePass<'static>, kernel: Kernel, params: u32, frame: usize) {
        let pipeline = self.loaded.pipelines[kernel as usize].as_ref().expect("kernels_of names every kernel");
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.plan.group, &[params, (frame * UNIFORM_STRIDE) as u32]);
    }
}

#[cfg(test)]
impl Stepwise {
    /// Runs part of the program on one submission's worth of boxes and returns the memory spaces.
    pub(super) fn inspect(&self, request: Request<f32>, stop: Stop) -> Result<Snapshot, Error> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let n_boxes = request.lower.len() / self.n_inputs;
        let plan = self.prepare(&mut room, n_boxes, false)?;
        assert!(plan.arrangement.capacity >= n_boxes, "an inspection needs one submission");
        self.upload(plan, request, 1)?;
        let Shared { device, queue, faults, .. } = &*self.shared;
        let download = |source: &wgpu::Buffer| -> Result<Vec<u8>, Error> {
            let n_bytes = source.size();
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let copy = faults.catch(device, || {
                let copy = device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: n_bytes,
                    usage,
                    mapped_at_creation: false,
                });
                let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                encoder.copy_buffer_to_buffer(source, 0, &copy, 0, n_bytes);
                queue.submit([encoder.finish()]);
                copy
            })?;
            faults.read(device, &copy, n_bytes)
        };
        faults.catch(device, || queue.submit([self.encode(plan, n_boxes, request, Some(stop)).finish()]))?;
        let n_passes = self.schedule.tasks[..stop.n_steps].iter().filter(|task| matches!(task, Task::Pass(_))).count();
        let frame = if n_passes == 0 { 0 } else { plan.arrangement.passes[n_passes - 1].frame };
        let [state, marks, coefficients, rows] = &plan.inspected;
        Ok(Snapshot {
            frame: plan.arrangement.frames[frame],
            state: bytemuck::pod_collect_to_vec(&download(state)?),
            marks: bytemuck::pod_collect_to_vec(&download(marks)?),
            coefficients: bytemuck::pod_collect_to_vec(&download(coefficients)?),
            rows: bytemuck::pod_collect_to_vec(&download(rows)?),
            book: bytemuck::pod_collect_to_vec(&download(&plan.book)?),
        })
    }

    /// Pretends that there is less memory.
    pub(super) fn limit(&mut self, n_subdomains: usize, coefficient_bytes: u64) {
        let mut room = self.room.lock().unwrap();
        room.most = n_subdomains;
        room.plan = None;
        self.needs.coefficient_bytes = coefficient_bytes;
    }

    /// Subdomains per submission, and chunks of each pass.
    pub(super) fn capacity(&self) -> (usize, Vec<u32>) {
        let room = self.room.lock().unwrap();
        let arrangement = &room.plan.as_ref().expect("it has run").arrangement;
        (arrangement.capacity, arrangement.passes.iter().map(|place| place.n_chunks).collect())
    }
}

/// The memory spaces at some point.
#[cfg(test)]
pub struct Snapshot {
    pub frame: super::frame::Frame,
    pub state: Vec<f32>,
    pub marks: Vec<u32>,
    pub coefficients: Vec<f32>,
    pub rows: Vec<f32>,
    pub book: Vec<u32>,
}

#[cfg(test)]
impl Snapshot {
    /// Number of tiles of the first chunk.
    pub fn n_tiles(&self) -> usize {
        self.book[0].min(self.frame.chunk_tiles) as usize
    }

    /// The coefficient of a row of a subdomain.
    pub fn coefficient(&self, slot: u32, neuron: usize, subdomain: usize, row: usize) -> f32 {
        let tile = self.book[self.frame.firsts as usize + subdomain] as usize + row / 4;
        let place = self.frame.reaches as usize + 4 * (slot as usize * self.frame.tile_capacity as usize + tile);
        let halves = |i: usize| (self.book[place + i] as usize & 0xffff, self.book[place + i] as usize >> 16);
        let (height, width) = halves(3);
        if let Some(line) = neuron.checked_div(width) {
            let at = [line / height, line % height, neuron % width];
            let is_stored = (0..3).all(|i| (halves(i).0..halves(i).1).contains(&at[i]));
            if !is_stored {
                return 0.0;
            }
        }
        let element = slot as usize * self.frame.slot_size as usize + neuron * self.n_tiles() + tile;
        self.coefficients[4 * element + row % 4]
    }

    /// Bias and slack of a row of a subdomain.
    pub fn row(&self, subdomain: usize, row: usize) -> (f32, f32) {
        let tile = self.book[self.frame.firsts as usize + subdomain] as usize + row / 4;
        let at = |first: usize| self.rows[4 * (first + tile) + row % 4];
        (at(0), at(self.frame.tile_capacity as usize))
    }
}
