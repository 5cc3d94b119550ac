use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};

use super::faults::Faults;
use crate::error::Error;

/// The shaders as `build.rs` expanded and checked them, and the proof that Rust and WGSL agree on every struct.
#[allow(clippy::too_long_first_doc_paragraph)]
pub mod shaders {
    use crate::device::gpu::frame;
    use crate::device::gpu::fused::tables as fused;
    use crate::device::gpu::lanes::params as lanes;
    use crate::{program, sweep};

    include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
}

macro_rules! kernels {
    ($($kernel:ident $label:literal $source:ident $entry:literal;)*) => {
        /// A compute kernel: a shader and one of its entry points.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kernel { $($kernel),* }

        impl Kernel {
            /// Every kernel.
            pub const ALL: &[Self] = &[$(Self::$kernel),*];

            /// The kernel's stem.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kernel => $label),* }
            }

            const fn source(self) -> &'static str {
                match self { $(Self::$kernel => shaders::$source),* }
            }

            const fn entry(self) -> &'static str {
                match self { $(Self::$kernel => $entry),* }
            }
        }
    };
}

kernels! {
    LoadInputs "load_inputs" LOAD_INPUTS "main";
    StoreIntervals "store_intervals" STORE_INTERVALS "main";
    IntervalDense "interval_dense" INTERVAL_DENSE "main";
    IntervalConv "interval_conv" INTERVAL_CONV "main";
    IntervalSparse "interval_sparse" INTERVAL_SPARSE "main";
    IntervalAdd "interval_add" INTERVAL_ADD "main";
    IntervalMaxPool "interval_max_pool" INTERVAL_MAX_POOL "main";
    Relax "relax" RELAX "main";
    Select "select" SELECT "main";
    AssignRows "assign_rows" ASSIGN_ROWS "main";
    AssignOwners "assign_rows owners" ASSIGN_ROWS "owners";
    Seed "seed" SEED "main";
    BackLines "back_lines" BACK_LINES "main";
    AffineTerms "affine_terms" AFFINE_TERMS "main";
    BackDense "back_dense" BACK_DENSE "main";
    BackDenseTiled "back_dense_tiled" BACK_DENSE_TILED "main";
    BackConv "back_conv" BACK_CONV "main";
    BackSparse "back_sparse" BACK_SPARSE "main";
    BackMaxPool "back_max_pool" BACK_MAX_POOL "main";
    BackMerge "back_merge" BACK_MERGE "main";
    Concretize "concretize" CONCRETIZE "main";
    ConcretizeSsim "concretize_ssim" CONCRETIZE_SSIM "main";
    SplitShare "split_share" SPLIT_SHARE "main";
    SplitScore "split_score" SPLIT_SCORE "main";
    SplitChoice "split_choice" SPLIT_CHOICE "main";
    StoreSlopes "store_slopes" STORE_SLOPES "main";
    StartLanes "start_lanes" START_LANES "main";
    DecideSplits "lane_splits decide" LANE_SPLITS "decide";
    CollectSplits "lane_splits collect" LANE_SPLITS "collect";
    AssignLanes "assign_lanes" ASSIGN_LANES "main";
    SeedLanes "seed_lanes" SEED_LANES "main";
    BackLanes "back_lanes" BACK_LANES "main";
    KeepSigns "keep_signs" KEEP_SIGNS "main";
    EndLanes "end_lanes" END_LANES "main";
    StoreBest "store_best" STORE_BEST "main";
    OnwardDense "back_dense onward" BACK_DENSE "onward";
    OnwardDenseTiled "back_dense_tiled onward" BACK_DENSE_TILED "onward";
    OnwardConv "onward_conv" ONWARD_CONV "main";
    OnwardSparse "back_sparse onward" BACK_SPARSE "onward";
    OnwardMaxPool "onward_max_pool" ONWARD_MAX_POOL "main";
    OnwardLines "onward_lines" ONWARD_LINES "main";
    TakeGaps "take_gaps" TAKE_GAPS "main";
    PackSlopes "pack_lanes slopes" PACK_LANES "slopes";
    PackEnds "pack_lanes ends" PACK_LANES "ends";
}

/// Bytes between two entries of a uniform buffer: every device's alignment divides it, every struct fits.
pub const UNIFORM_STRIDE: usize = 256;

/// The buffers behind the bindings of every kernel, in order.
#[derive(Debug, Clone, Copy)]
pub struct Bindings<'a> {
    pub params: &'a wgpu::Buffer,
    pub frames: &'a wgpu::Buffer,
    pub constants: &'a wgpu::Buffer,
    pub tables: &'a wgpu::Buffer,
    pub state: &'a wgpu::Buffer,
    pub marks: &'a wgpu::Buffer,
    pub coefficients: &'a wgpu::Buffer,
    pub rows: &'a wgpu::Buffer,
    pub book: &'a wgpu::Buffer,
    pub exchange: &'a wgpu::Buffer,
}

/// The kernels of one device, each compiled when it is first needed.
pub struct Pipelines {
    group: wgpu::BindGroupLayout,
    layout: wgpu::PipelineLayout,
    compiled: Mutex<Vec<Option<wgpu::ComputePipeline>>>,
}

impl Pipelines {
    pub fn new(device: &wgpu::Device) -> Self {
        let uniform = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: None,
        };
        let storage = |read_only| wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only },
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let types = [
            uniform,
            uniform,
            storage(true),
            storage(true),
            storage(false),
            storage(false),
            storage(false),
            storage(false),
            storage(false),
            storage(false),
        ];
        let entries: Vec<_> = types
            .into_iter()
            .enumerate()
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            })
            .collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some("memory"), entries: &entries };
        let group = device.create_bind_group_layout(&descriptor);
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("kernel"),
            bind_group_layouts: &[Some(&group)],
            immediate_size: 0,
        });
        Self { group, layout, compiled: Mutex::new(vec![None; Kernel::ALL.len()]) }
    }

    /// The compiled kernel.
    pub fn get(&self, device: &wgpu::Device, faults: &Faults, kernel: Kernel) -> Result<wgpu::ComputePipeline, Error> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = &compiled[kernel as usize] {
            return Ok(pipeline.clone());
        }
        let pipeline = faults.catch(device, || {
            compile(device, Some(&self.layout), kernel.label(), kernel.source(), kernel.entry(), &[])
        })?;
        compiled[kernel as usize] = Some(pipeline.clone());
        Ok(pipeline)
    }

    /// Binds the buffers; parameters and frame are chosen by dynamic offsets.
    pub fn bind(&self, device: &wgpu::Device, bindings: Bindings) -> wgpu::BindGroup {
        let Bindings { params, frames, constants, tables, state, marks, coefficients, rows, book, exchange } = bindings;
        let uniform = |buffer| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: 0,
                size: NonZeroU64::new(UNIFORM_STRIDE as u64),
            })
        };
        let mut resources = vec![uniform(params), uniform(frames)];
        let storage = [constants, tables, state, marks, coefficients, rows, book, exchange];
        resources.extend(storage.map(wgpu::Buffer::as_entire_binding));
        let entries: Vec<_> = resources
            .into_iter()
            .enumerate()
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding: binding as u32, resource })
            .collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("memory"),
            layout: &self.group,
            entries: &entries,
        })
    }
}

/// Compiles one entry point with these constants; without a layout, the one that the shader implies.
pub fn compile(
    device: &wgpu::Device,
    layout: Option<&wgpu::PipelineLayout>,
    label: &str,
    source: &str,
    entry: &str,
    constants: &[(&str, f64)],
) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout,
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: false,
            constants,
        },
        cache: None,
    })
}
