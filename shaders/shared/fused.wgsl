// A whole program as tables, one workgroup per subdomain: what `device/gpu/fused` uploads. Its structs are the Rust structs of
// `fused/tables.rs`: the build compares them.

// Where things lie.
struct FusedFrame {
    n_subdomains: u32,
    n_inputs: u32,
    n_steps: u32,
    // Rows of the result: lower ends of all outputs, then, if recorded, their upper ends.
    n_rows: u32,
    // State: the result, bounds of all rows, then their slacks.
    result: u32,
    wants_split: u32,
    wants_slopes: u32,
    // Exchange: input boxes `[n_subdomains, 2, n_inputs]`; bounds and slacks `[n_subdomains, n_rows]`; the inputs to split at and
    // the numbers of undecided neurons `[n_subdomains]`; if wanted, the slopes `[n_subdomains, n_rows, n_inputs]`.
    inputs: u32,
    lower: u32,
    slack: u32,
    split: u32,
    undecided: u32,
    slopes: u32,
    // 0, which no compiler knows.
    zero: u32,
    padding_0: u32,
    padding_1: u32,
}

// One step of the program.
struct FusedStep {
    // 0: a dense affine node, 1: an activation, 2: a backward pass.
    kind: u32,
    // Its parameters, in the table of its kind.
    params: u32,
    // Lists: which neurons of the node are live (activation) or undecided (refinement), found by this step; which ones of the
    // operand are live (affine). 0: none is made, all are live.
    list: u32,
    // Length of the node.
    n: u32,
}

// A backward pass.
struct FusedPass {
    choice: Select,
    seed: Seed,
    end: Concretize,
    is_objective: u32,
    // Its walk in the table of stages.
    first_stage: u32,
    n_stages: u32,
    padding: u32,
}

// Part of a walk: through an activation's lines, past an affine node's terms and through its matrix, each if it is there.
struct FusedStage {
    // Length of the node whose coefficients arrive.
    n: u32,
    // State: the five arrays; `NONE`: no activation.
    lines: u32,
    // Constants: bias; `NONE`: no affine node. It is the walk's last stage then.
    bias: u32,
    // State: what a step through the affine node may lose.
    error: u32,
    // Constants: the packed matrix, in elements of four.
    weight: u32,
    // Lists: which neurons arrive with coefficients that may differ from zero.
    list: u32,
    // Columns of the packed matrix per invocation, 1 or 4.
    n_columns: u32,
    padding: u32,
}

const NONE: u32 = 0xffffffffu;
const DENSE: u32 = 0u;
const ACTIVATION: u32 = 1u;
const PASS: u32 = 2u;

@group(0) @binding(0) var<uniform> frame: FusedFrame;
@group(0) @binding(1) var<storage, read> steps: array<FusedStep>;
@group(0) @binding(3) var<storage, read> affines: array<IntervalAffine>;
@group(0) @binding(4) var<storage, read> activations: array<Relax>;
@group(0) @binding(5) var<storage, read> passes: array<FusedPass>;
@group(0) @binding(6) var<storage, read> stages: array<FusedStage>;
