//! Programs small enough to run as a whole in one dispatch: a workgroup per subdomain, from the box to the result.

mod branch;
pub mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::arrangement::MAX_SUBDOMAINS;
use super::kernel::{compile, shaders};
use super::{AdapterKind, Shared};
use crate::branch::{Branched, Budget, Piece, Rule};
use crate::device::host::{Raw, Request};
use crate::error::{Error, ErrorKind};
use crate::program::Program;
use branch::Brancher;
use tables::{Allowance, FusedFrame, Shape, Tables};

/// Bytes of the buffer that holds a submission's boxes and results.
const MOST_BYTES: u64 = 1 << 28;

/// The kernels of this family that a device has compiled.
#[derive(Default)]
pub struct FusedPipelines(Mutex<BTreeMap<(&'static str, Option<Shape>), wgpu::ComputePipeline>>);

/// A small program on a device: its tables and weights uploaded, its kernel compiled.
pub struct Fused {
    shared: Arc<Shared>,
    tables: Tables,
    pipeline: wgpu::ComputePipeline,
    frame: wgpu::Buffer,
    /// Steps, constants, affines, activations, passes, stages: bindings 1 to 6.
    memory: [wgpu::Buffer; 6],
    room: Mutex<Room>,
    /// Made when first asked for.
    brancher: Mutex<Option<Brancher>>,
}

/// The buffers that depend on the batch's size, kept from call to call.
struct Room {
    plan: Option<Plan>,
    /// Most subdomains per submission: halved whenever the device runs out of memory.
    most: usize,
}

/// Buffers for submissions of up to `capacity` subdomains.
struct Plan {
    capacity: usize,
    has_slopes: bool,
    frame: FusedFrame,
    exchange: wgpu::Buffer,
    /// Results, mappable.
    results: wgpu::Buffer,
    group: wgpu::BindGroup,
}

impl FusedPipelines {
    /// The compiled kernel, for programs of a shape if it has one.
    fn get(
        &self,
        Shared { device, faults, .. }: &Shared,
        stem: &'static str,
        source: &str,
        shape: Option<Shape>,
    ) -> Result<wgpu::ComputePipeline, Error> {
        let mut compiled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = compiled.get(&(stem, shape)) {
            return Ok(pipeline.clone());
        }
        let constants = shape.map_or_else(Vec::new, |shape| shape.constants().to_vec());
        let pipeline = faults.catch(device, || compile(device, None, stem, source, "main", &constants))?;
        compiled.insert((stem, shape), pipeline.clone());
        Ok(pipeline)
    }
}

impl Fused {
    /// Uploads a program; none if it does not qualify.
    ///
    /// # Errors
    /// When the device fails or has no room.
    pub fn load(shared: Arc<Shared>, program: &Program<f32>) -> Result<Option<Self>, Error> {
        let allowance = Allowance::of(&shared.device.limits());
        // A software adapter runs a workgroup on one core, and pays for each invocation that waits.
        let is_software = shared.adapter.kind == AdapterKind::Software;
        let allowance = if is_software { Allowance { tiles: 2, ..allowance } } else { allowance };
        match Tables::new(program, allowance) {
            Some(tables) => Self::new(shared, tables).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn new(shared: Arc<Shared>, tables: Tables) -> Result<Self, Error> {
        let Shared { device, queue, faults, .. } = &*shared;
        let pipeline = shared.fused.get(&shared, "bound_boxes", shaders::BOUND_BOXES, Some(tables.shape))?;
        let storage = wgpu::BufferUsages::STORAGE;
        let upload = |label, contents: &[u8]| {
            // No buffer may be empty.
            let contents = if contents.is_empty() { &[0; 128] } else { contents };
            faults.upload(device, queue, label, contents, storage)
        };
        let memory = [
            upload("steps", bytemuck::cast_slice(&tables.steps))?,
            upload("constants", bytemuck::cast_slice(&tables.constants))?,
            upload("affines", bytemuck::cast_slice(&tables.affines))?,
            upload("activations", bytemuck::cast_slice(&tables.activations))?,
            upload("passes", bytemuck::cast_slice(&tables.passes))?,
            upload("stages", bytemuck::cast_slice(&tables.stages))?,
        ];
        let frame = bytemuck::bytes_of(&tables.frame()).to_vec();
        let frame = faults.upload(device, queue, "frame", &frame, wgpu::BufferUsages::UNIFORM)?;
        let room = Mutex::new(Room { plan: None, most: MAX_SUBDOMAINS });
        Ok(Self { shared, tables, pipeline, frame, memory, room, brancher: Mutex::new(None) })
    }

    /// Bounds every box of a batch; one submission for as many as the device holds.
    ///
    /// # Errors
    /// As [`super::GpuProgram::bound`].
    pub fn bound(&self, request: Request<f32>) -> Result<Raw<f32>, Error> {
        let n = self.tables.n_inputs as usize;
        let n_boxes = request.lower.len() / n;
        let mut raw = Raw::empty();
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < n_boxes {
            let attempt = self.prepare(&mut room, n_boxes - done, request.wants_coefficients).and_then(|plan| {
                let end = n_boxes.min(done + plan.capacity);
                let range = done * n..end * n;
                let part = Request { lower: &request.lower[range.clone()], upper: &request.upper[range], ..request };
                self.submit(plan, part, &mut raw)?;
                Ok(end)
            });
            match attempt {
                Ok(end) => done = end,
                Err(error) => {
                    let capacity = room.plan.take().map_or(0, |plan| plan.capacity);
                    if capacity <= 1 || !matches!(error.kind, ErrorKind::OutOfMemory(_)) {
                        return Err(error);
                    }
                    room.most = capacity / 2;
                }
            }
        }
        Ok(raw)
    }

    /// See [`crate::BoundEngine::branch`].
    pub fn branch(&self, pieces: &[Piece], rule: &Rule, budget: Budget) -> Result<Branched, Error> {
        let mut brancher = self.brancher.lock().unwrap_or_else(PoisonError::into_inner);
        if brancher.is_none() {
            *brancher = Some(Brancher::new(self)?);
        }
        brancher.as_mut().expect("it was just made").run(self, pieces, rule, budget)
    }

    /// A plan for `n_wanted` subdomains, or for as many of them as fit: the last one if it will do.
    fn prepare<'r>(&self, room: &'r mut Room, n_wanted: usize, has_slopes: bool) -> Result<&'r Plan, Error> {
        let is_enough = |plan: &Plan| plan.capacity >= n_wanted.min(room.most) && (plan.has_slopes || !has_slopes);
        // An old plan that will not do is freed before its successor is made.
        if let Some(plan) = room.plan.take().filter(is_enough) {
            return Ok(room.plan.insert(plan));
        }
        loop {
            let Tables { n_inputs, n_rows, .. } = self.tables;
            let limits = self.shared.device.limits();
            let bytes_each =
                4 * u64::from(2 * n_rows + 3 + 2 * n_inputs + if has_slopes { n_rows * n_inputs } else { 0 });
            let most_bytes = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(MOST_BYTES);
            room.most = room.most.min((most_bytes / bytes_each) as usize);
            if room.most == 0 {
                return Err(ErrorKind::OutOfMemory("one subproblem's results exceed the largest buffer".into()).into());
            }
            // A power of two, so that batches that grow slowly do not plan anew each time.
            let capacity = n_wanted.next_power_of_two().min(room.most);
            match self.shared.faults.catch(&self.shared.device, || self.allocate(capacity, has_slopes)) {
                Err(Error { kind: ErrorKind::OutOfMemory(_) }) if capacity > 1 => room.most = capacity / 2,
                plan => return Ok(room.plan.insert(plan?)),
            }
        }
    }

    fn allocate(&self, capacity: usize, has_slopes: bool) -> Plan {
        let Tables { n_inputs, n_rows, .. } = self.tables;
        let n = capacity as u32;
        let lower = 0;
        let slack = lower + n * n_rows;
        let split = slack + n * n_rows;
        let undecided = split + n;
        let slopes = undecided + n;
        // A word between results and inputs comes back as it went.
        let inputs = slopes + if has_slopes { n * n_rows * n_inputs } else { 0 } + 1;
        let frame = FusedFrame { inputs, lower, slack, split, undecided, slopes, ..self.tables.frame() };
        let device = &self.shared.device;
        let buffer = |label, size: u32, usage| {
            let size = 4 * u64::from(size.max(4));
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let both_ways = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let exchange = buffer("exchange", inputs + n * 2 * n_inputs, wgpu::BufferUsages::STORAGE | both_ways);
        let results = buffer("results", inputs, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let buffers = [&self.frame].into_iter().chain(&self.memory).chain([&exchange]);
        let entries: Vec<_> = buffers
            .enumerate()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("fused"),
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Plan { capacity, has_slopes, frame, exchange, results, group }
    }

    /// Bounds up to a plan's capacity of boxes and appends the results.
    fn submit(&self, plan: &Plan, request: Request<f32>, raw: &mut Raw<f32>) -> Result<(), Error> {
        let Shared { device, queue, faults, .. } = &*self.shared;
        let n = self.tables.n_inputs as usize;
        let n_boxes = request.lower.len() / n;
        let boxes = request.lower.chunks_exact(n).zip(request.upper.chunks_exact(n));
        let boxes: Vec<f32> = boxes.flat_map(|(lower, upper)| lower.iter().chain(upper).copied()).collect();
        let frame = FusedFrame {
            n_subdomains: n_boxes as u32,
            wants_split: u32::from(request.wants_split),
            wants_slopes: u32::from(request.wants_coefficients),
            ..plan.frame
        };
        let n_bytes = 4 * u64::from(frame.inputs);
        let ticket = self.shared.next_ticket();
        faults.catch(device, || {
            queue.write_buffer(&self.frame, 0, bytemuck::bytes_of(&frame));
            queue.write_buffer(&plan.exchange, n_bytes - 4, bytemuck::bytes_of(&ticket));
            queue.write_buffer(&plan.exchange, n_bytes, bytemuck::cast_slice(&boxes));
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&self.pipeline);
                pass.set_bind_group(0, &plan.group, &[]);
                pass.dispatch_workgroups(n_boxes as u32, 1, 1);
            }
            encoder.copy_buffer_to_buffer(&plan.exchange, 0, &plan.results, 0, n_bytes);
            queue.submit([encoder.finish()]);
        })?;
        let bytes = faults.read(device, &plan.results, n_bytes)?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        if words.last() != Some(&ticket) {
            return Err(ErrorKind::Device("the results of another submission came back".into()).into());
        }
        let part = |start: u32, n: usize| &words[start as usize..start as usize + n];
        let floats = |start: u32, n: usize| part(start, n).iter().map(|&bits| f32::from_bits(bits));
        let n_rows = n_boxes * self.tables.n_rows as usize;
        raw.lower.extend(floats(frame.lower, n_rows));
        raw.slack.extend(floats(frame.slack, n_rows));
        if request.wants_split {
            raw.split.extend_from_slice(part(frame.split, n_boxes));
        }
        if request.wants_coefficients {
            raw.coefficients.extend(floats(frame.slopes, n_rows * n));
        }
        let n_unstable: u64 = part(frame.undecided, n_boxes).iter().map(|&count| u64::from(count)).sum();
        raw.n_unstable += n_unstable;
        // Both ends of each undecided neuron, and the objective.
        raw.n_rows += 2 * n_unstable + n_rows as u64;
        Ok(())
    }
}

impl fmt::Debug for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused").field("adapter", &self.shared.adapter).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Fused {
    /// Tiles per chunk.
    fn n_tiles(&self) -> u32 {
        self.tables.shape.tiles
    }

    /// Pretends that there is less memory.
    fn limit(&self, n_subdomains: usize) {
        *self.room.lock().unwrap() = Room { plan: None, most: n_subdomains };
    }
}
