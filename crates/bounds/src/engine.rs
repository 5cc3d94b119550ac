use std::sync::{Arc, OnceLock};

use network::{BoxRegion, Network};

use crate::branch::{Branched, Budget, Piece, Rule};
use crate::device::Device;
#[cfg(feature = "gpu")]
use crate::device::gpu::GpuProgram;
use crate::device::host::{self, Raw, Request, Tangents};
use crate::error::{Error, ErrorKind};
#[cfg(feature = "gpu")]
use crate::lane_device::LaneDevice;
use crate::program::Program;
use crate::record::{Method, Recipe, record};
use crate::scalar::Scalar;
use crate::set::InputSet;
use crate::slack::Arithmetic;

/// Bounds the outputs of one network over any sub-boxes of one region, on one device.
#[derive(Debug)]
pub struct BoundEngine {
    network: Arc<Network>,
    /// The region, its bounds rounded outward to f32.
    region: Batch,
    recipe: Recipe,
    /// What the inputs lie in besides the region.
    set: Option<Arc<InputSet>>,
    /// Where lanes are optimised.
    #[cfg(feature = "gpu")]
    device: Device,
    #[cfg(feature = "gpu")]
    gpu: Option<GpuProgram>,
    /// Loaded when lanes are first asked for.
    #[cfg(feature = "gpu")]
    lanes: OnceLock<Option<LaneDevice>>,
    /// In f32 for the host, recorded when first asked for.
    host: OnceLock<Result<Program<f32>, ErrorKind>>,
    /// In f64 for the host, recorded when first asked for.
    precise: OnceLock<Result<Program<f64>, ErrorKind>>,
    /// Why the device is no longer used.
    lost: OnceLock<String>,
    /// Why lanes are optimised on the host although a device was asked for; engines of the same question share it.
    lanes_lost: Arc<OnceLock<String>>,
}

/// Boxes, one after another: `lower` and `upper` are `[batch, n_inputs]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Lower ends.
    pub lower: Vec<f32>,
    /// Upper ends.
    pub upper: Vec<f32>,
}

/// Sound bounds of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bounds {
    /// Number of outputs.
    pub n_outputs: usize,
    /// Lower ends, `[batch, n_outputs]`; an end that could not be bounded is `−∞`.
    pub lower: Vec<f64>,
    /// Upper ends, `[batch, n_outputs]`; empty unless the recipe has both ends.
    pub upper: Vec<f64>,
    /// What rounding may have cost each lower end, already inside, `[batch, n_outputs]`.
    pub lower_slack: Vec<f64>,
    /// What rounding may have cost each upper end.
    pub upper_slack: Vec<f64>,
    /// The input along which each box is best split (largest `Σ |A_i| (u_i − l_i)`), `[batch]`, if asked for.
    pub split: Vec<u32>,
    /// Slopes of the linear lower bounds, `[batch, n_outputs, n_inputs]`, if asked for.
    pub slopes: Vec<f64>,
    /// Backward rows that were computed.
    pub n_rows: u64,
    /// Intermediate neurons that interval bounds left undecided.
    pub n_unstable: u64,
}

/// What to return besides bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Where to split each box.
    pub split: bool,
    /// The slopes of the linear lower bounds.
    pub slopes: bool,
}

impl BoundEngine {
    /// Records the bounds of every output of `network` over sub-boxes of `region`, for a device.
    ///
    /// If the device cannot take the program the host does: [`Self::fallback`] then says why.
    ///
    /// # Errors
    /// [`ErrorKind::Region`] if the region does not fit the network; [`ErrorKind::Magnitude`] if even f64 could overflow.
    pub fn new(device: &Device, network: Arc<Network>, region: &BoxRegion, recipe: Recipe) -> Result<Self, Error> {
        Self::unloaded(network, region, None, recipe)?.on(device)
    }

    /// As [`Self::new`], for inputs that lie in a set as well as in the region. Devices know similarity in one window; any other set is
    /// left to the host, as [`Self::fallback`] then says.
    ///
    /// # Errors
    /// As [`Self::new`]; [`ErrorKind::Region`] also if the set has another number of inputs.
    pub fn over_set(
        device: &Device,
        network: Arc<Network>,
        region: &BoxRegion,
        set: Arc<InputSet>,
        recipe: Recipe,
    ) -> Result<Self, Error> {
        if set.n_inputs() != network.n_inputs() {
            let problem = format!("the set has {} inputs, the network {}", set.n_inputs(), network.n_inputs());
            return Err(ErrorKind::Region { subproblem: 0, problem }.into());
        }
        Self::unloaded(network, region, Some(set), Recipe { over_set: true, ..recipe })?.on(device)
    }

    /// The same question by another recipe: plain bounds on the host, optimised ones where this engine's device is.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_recipe(&self, recipe: Recipe) -> Result<Self, Error> {
        let recipe = Recipe { over_set: self.set.is_some(), ..recipe };
        let mut engine = Self::blank(Arc::clone(&self.network), self.region.clone(), self.set.clone(), recipe);
        engine.lanes_lost = Arc::clone(&self.lanes_lost);
        #[cfg(feature = "gpu")]
        engine.device.clone_from(&self.device);
        engine.on_host()
    }

    fn unloaded(
        network: Arc<Network>,
        region: &BoxRegion,
        set: Option<Arc<InputSet>>,
        recipe: Recipe,
    ) -> Result<Self, Error> {
        if region.n_inputs() != network.n_inputs() {
            let problem = format!("the region has {} inputs, the network {}", region.n_inputs(), network.n_inputs());
            return Err(ErrorKind::Region { subproblem: 0, problem }.into());
        }
        let region = Batch::enclosing(&region.lower, &region.upper);
        if region.lower.iter().chain(&region.upper).any(|value| !value.is_finite()) {
            let problem = "its bounds are not finite in f32".into();
            return Err(ErrorKind::Region { subproblem: 0, problem }.into());
        }
        Ok(Self::blank(network, region, set, recipe))
    }

    fn blank(network: Arc<Network>, region: Batch, set: Option<Arc<InputSet>>, recipe: Recipe) -> Self {
        Self {
            network,
            region,
            recipe,
            set,
            #[cfg(feature = "gpu")]
            device: Device::Host,
            #[cfg(feature = "gpu")]
            gpu: None,
            #[cfg(feature = "gpu")]
            lanes: OnceLock::new(),
            host: OnceLock::new(),
            precise: OnceLock::new(),
            lost: OnceLock::new(),
            lanes_lost: Arc::default(),
        }
    }

    #[cfg(feature = "gpu")]
    fn on(mut self, device: &Device) -> Result<Self, Error> {
        self.device = device.clone();
        if let Device::Gpu(gpu) = device {
            let (lower, upper) = self.region.to_f64();
            let loaded = self
                .recorded(&lower, &upper, Arithmetic::DEVICE_F32)
                .map_err(Error::from)
                .and_then(|program| gpu.load(&program));
            match loaded {
                Ok(program) => {
                    // The host's programs are recorded only if they are needed.
                    self.gpu = Some(program);
                    return Ok(self);
                }
                Err(error) => drop(self.lost.set(error.to_string())),
            }
        }
        self.on_host()
    }

    #[cfg(not(feature = "gpu"))]
    fn on(self, _device: &Device) -> Result<Self, Error> {
        self.on_host()
    }

    /// Checks that at least one program can be recorded.
    fn on_host(self) -> Result<Self, Error> {
        match self.narrow() {
            Err(Error { kind: ErrorKind::Magnitude { .. } }) => self.precise().map(|_| ()),
            other => other.map(|_| ()),
        }?;
        Ok(self)
    }

    /// The network whose outputs are bounded.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The region, rounded outward to f32.
    pub fn region(&self) -> &Batch {
        &self.region
    }

    /// What is recorded.
    pub fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// Whether the inputs lie in a set besides the region.
    pub fn has_set(&self) -> bool {
        self.set.is_some()
    }

    /// Multiply-adds of one evaluation of the network: what one backward row costs at most.
    pub fn macs(&self) -> u64 {
        self.network.macs()
    }

    /// Bounds every output over every box of the batch, in f32 (in f64 if f32 could overflow).
    ///
    /// Sound in real arithmetic: each value already includes its rounding slack.
    ///
    /// # Errors
    /// [`ErrorKind::Region`] if a box is malformed or leaves the engine's region.
    pub fn bound(&self, batch: &Batch, wanted: Wanted) -> Result<Bounds, Error> {
        self.check(batch)?;
        let request = request(&batch.lower, &batch.upper, wanted);
        #[cfg(feature = "gpu")]
        if let (Some(program), None) = (&self.gpu, self.lost.get()) {
            match program.bound(request) {
                Ok(raw) => return Ok(self.finish(raw)),
                // A lost device costs time, never an answer.
                Err(error) => drop(self.lost.set(error.to_string())),
            }
        }
        match self.narrow() {
            Ok(program) => Ok(self.finish(host::bound(program, request))),
            Err(Error { kind: ErrorKind::Magnitude { .. } }) => {
                let (lower, upper) = batch.to_f64();
                self.bound_precisely(&lower, &upper, wanted)
            }
            Err(error) => Err(error),
        }
    }

    /// How outputs change at points `[n_points, n_inputs]`, on the host: of each point the output that is named, or the least.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] if f32 could overflow.
    pub fn tangents(&self, points: &[f32], targets: &[Option<u32>], wants_slopes: bool) -> Result<Tangents, Error> {
        Ok(host::tangents(self.narrow()?, &self.network, points, targets, wants_slopes))
    }

    /// Splits boxes along their inputs, on the device and for many rounds at once, until every piece is excluded by the rule, or the
    /// budget is spent; none if no device can: then whoever asks has [`Self::bound`].
    ///
    /// A bound counts only with its slack inside. What is returned and what was decided cover the pieces exactly. The result is
    /// the same whatever the order in which the device works.
    ///
    /// # Errors
    /// [`ErrorKind::Region`] if a box is malformed or leaves the engine's region, or a disjunct has rows past the outputs.
    pub fn branch(&self, pieces: &[Piece], rule: &Rule, budget: Budget) -> Result<Option<Branched>, Error> {
        let n = self.network.n_inputs();
        let mut batch = Batch::default();
        for (subproblem, piece) in pieces.iter().enumerate() {
            if piece.ends.len() != 2 * n {
                let problem = format!("{} ends for {n} inputs", piece.ends.len());
                return Err(ErrorKind::Region { subproblem, problem }.into());
            }
            batch.lower.extend_from_slice(&piece.ends[..n]);
            batch.upper.extend_from_slice(&piece.ends[n..]);
        }
        self.check(&batch)?;
        let n_outputs = self.network.n_outputs();
        if let Some(rows) = rule.disjuncts.iter().find(|rows| rows.end > n_outputs) {
            let problem = format!("a disjunct has rows {rows:?} of {n_outputs}");
            return Err(ErrorKind::Region { subproblem: 0, problem }.into());
        }
        #[cfg(feature = "gpu")]
        if let (Some(program), None) = (&self.gpu, self.lost.get()) {
            match program.branch(pieces, rule, budget) {
                Ok(branched) => return Ok(branched),
                // Too many boxes at once are no fault of the device.
                Err(Error { kind: ErrorKind::OutOfMemory(_) }) => return Ok(None),
                // A lost device costs time, never an answer.
                Err(error) => drop(self.lost.set(error.to_string())),
            }
        }
        let _ = budget;
        Ok(None)
    }

    /// Why the device that was asked for is not used (any more), or not for optimised bounds; the host is used instead.
    pub fn fallback(&self) -> Option<&str> {
        self.lost.get().or_else(|| self.lanes_lost.get()).map(String::as_str)
    }

    /// Does something with the device's lanes; none if there is no such device, once it has failed, or if it leaves this to the host.
    #[cfg(feature = "gpu")]
    pub(crate) fn on_lanes<R>(&self, work: impl FnOnce(&LaneDevice) -> Result<Option<R>, Error>) -> Option<R> {
        let Device::Gpu(gpu) = &self.device else { return None };
        if self.lanes_lost.get().is_some() {
            return None;
        }
        let load = || {
            let (lower, upper) = self.region.to_f64();
            let program = self.recorded(&lower, &upper, Arithmetic::DEVICE_F32).map_err(Error::from);
            match program.and_then(|program| LaneDevice::new(gpu, program)) {
                Ok(lanes) => Some(lanes),
                Err(error) => {
                    drop(self.lanes_lost.set(error.to_string()));
                    None
                }
            }
        };
        match work(self.lanes.get_or_init(load).as_ref()?) {
            Ok(found) => found,
            // A lost device costs time, never an answer.
            Err(error) => {
                drop(self.lanes_lost.set(error.to_string()));
                None
            }
        }
    }

    /// Bounds every output over every box, in f64 on the host: for what f32 leaves undecided only because of its slack.
    ///
    /// # Errors
    /// As [`Self::bound`]; [`ErrorKind::Magnitude`] if even f64 could overflow.
    pub fn bound_precisely(&self, lower: &[f64], upper: &[f64], wanted: Wanted) -> Result<Bounds, Error> {
        let program = self.precise()?;
        self.check_precisely(lower, upper)?;
        Ok(self.finish(host::bound(program, request(lower, upper, wanted))))
    }

    /// The host's program.
    fn recorded<T: Scalar>(
        &self,
        lower: &[f64],
        upper: &[f64],
        arithmetic: Arithmetic,
    ) -> Result<Program<T>, ErrorKind> {
        let mut program = record(&self.network, lower, upper, self.recipe, arithmetic).map_err(|error| error.kind)?;
        program.set.clone_from(&self.set);
        Ok(program)
    }

    pub(crate) fn narrow(&self) -> Result<&Program<f32>, Error> {
        let (lower, upper) = self.region.to_f64();
        let recorded = self.host.get_or_init(|| self.recorded(&lower, &upper, Arithmetic::HOST_F32));
        recorded.as_ref().map_err(|kind| kind.clone().into())
    }

    pub(crate) fn precise(&self) -> Result<&Program<f64>, Error> {
        let (lower, upper) = self.region.to_f64();
        let recorded = self.precise.get_or_init(|| self.recorded(&lower, &upper, Arithmetic::HOST_F64));
        recorded.as_ref().map_err(|kind| kind.clone().into())
    }

    pub(crate) fn check(&self, batch: &Batch) -> Result<(), Error> {
        check_boxes(&(self.region.lower.clone(), self.region.upper.clone()), &batch.lower, &batch.upper)
    }

    pub(crate) fn check_precisely(&self, lower: &[f64], upper: &[f64]) -> Result<(), Error> {
        check_boxes(&self.region.to_f64(), lower, upper)
    }

    fn finish<T: Scalar>(&self, raw: Raw<T>) -> Bounds {
        let n = self.network.n_outputs();
        let n_rows = if self.recipe.both_ends || self.recipe.method == Method::Ibp { 2 * n } else { n };
        let mut bounds = Bounds { n_outputs: n, n_rows: raw.n_rows, n_unstable: raw.n_unstable, ..Bounds::default() };
        // A bound that is not finite says nothing.
        let sound = |value: T| if value.is_finite() { value.to_f64() } else { f64::NEG_INFINITY };
        for (values, slacks) in raw.lower.chunks_exact(n_rows).zip(raw.slack.chunks_exact(n_rows)) {
            bounds.lower.extend(values[..n].iter().map(|&value| sound(value)));
            bounds.lower_slack.extend(slacks[..n].iter().map(|&slack| slack.to_f64()));
            bounds.upper.extend(values[n..].iter().map(|&value| -sound(value)));
            bounds.upper_slack.extend(slacks[n..].iter().map(|&slack| slack.to_f64()));
        }
        bounds.split = raw.split;
        let n_inputs = self.network.n_inputs();
        for rows in raw.coefficients.chunks_exact((n_rows * n_inputs).max(1)) {
            bounds.slopes.extend(rows[..n * n_inputs].iter().map(|&slope| slope.to_f64()));
        }
        bounds
    }
}

impl Bounds {
    /// Takes the tighter of two bounds of the same boxes, end by end; both are sound, so each choice is.
    #[must_use]
    pub fn tightened_by(mut self, other: &Self) -> Self {
        for (k, &lower) in other.lower.iter().enumerate() {
            if lower > self.lower[k] {
                (self.lower[k], self.lower_slack[k]) = (lower, other.lower_slack[k]);
            }
        }
        for (k, &upper) in other.upper.iter().enumerate() {
            if upper < self.upper[k] {
                (self.upper[k], self.upper_slack[k]) = (upper, other.upper_slack[k]);
            }
        }
        self.n_rows += other.n_rows;
        self
    }
}

impl Batch {
    /// One box, rounded outward.
    pub fn enclosing(lower: &[f64], upper: &[f64]) -> Self {
        Self {
            lower: lower.iter().map(|&value| f32::below(value)).collect(),
            upper: upper.iter().map(|&value| f32::above(value)).collect(),
        }
    }

    /// The same boxes in f64.
    pub fn to_f64(&self) -> (Vec<f64>, Vec<f64>) {
        (self.lower.iter().map(|&value| f64::from(value)).collect(), self.upper.iter().map(|&v| f64::from(v)).collect())
    }
}

fn request<'a, T>(lower: &'a [T], upper: &'a [T], wanted: Wanted) -> Request<'a, T> {
    Request { lower, upper, wants_split: wanted.split, wants_coefficients: wanted.slopes }
}

/// Every box must be well formed and inside the region: the guards against overflow hold there only.
fn check_boxes<T: PartialOrd + Copy + std::fmt::Debug>(
    region: &(Vec<T>, Vec<T>),
    lower: &[T],
    upper: &[T],
) -> Result<(), Error> {
    let n = region.0.len();
    if lower.len() != upper.len() || !lower.len().is_multiple_of(n) {
        let problem = format!("{} lower and {} upper ends for boxes of {n} inputs", lower.len(), upper.len());
        return Err(ErrorKind::Region { subproblem: 0, problem }.into());
    }
    for (b, (l, u)) in lower.chunks_exact(n).zip(upper.chunks_exact(n)).enumerate() {
        for i in 0..n {
            // Written so that NaN fails.
            let is_inside = region.0[i] <= l[i] && l[i] <= u[i] && u[i] <= region.1[i];
            if !is_inside {
                let problem =
                    format!("input {i} is [{:?}, {:?}], outside [{:?}, {:?}]", l[i], u[i], region.0[i], region.1[i]);
                return Err(ErrorKind::Region { subproblem: b, problem }.into());
            }
        }
    }
    Ok(())
}
