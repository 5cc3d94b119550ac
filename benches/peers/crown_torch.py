"""Batched CROWN in plain PyTorch: the work of `diadem bench bounds`, so that the two can be compared.

Intervals first; a backward pass bounds what they leave undecided, per box, both ends, and the result is intersected with the
interval; then both ends of all outputs. `u > -l` chooses the lower slope 1, else 0. Reads chains of Gemm or MatMul, Conv and Relu.

Three forms of the backward passes, of which a caller takes the fastest:
  flat    only the undecided (box, neuron) pairs: no row is wasted, relaxations are gathered by box
  padded  per box as many rows as the box with most undecided neurons of that layer has; relaxations are broadcast
  dense   every neuron of every layer (then intersected, so never looser)
"""

import argparse
import glob
import gzip
import itertools
import json
import re
import statistics
import subprocess
import sys
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F

FORMS = ("flat", "padded", "dense")


class Affine:
    """One affine layer: dense `[n_out, n_in]`, or a convolution between images of the two shapes."""

    def __init__(self, weight, bias, stride=1, pad=0, shape_in=None):
        self.weight, self.bias, self.stride, self.pad, self.shape_in = weight, bias, stride, pad, shape_in
        self.shape_out = None
        if shape_in is not None:
            size = [(n + 2 * pad - k) // stride + 1 for n, k in zip(shape_in[1:], weight.shape[2:])]
            self.extra = [n - ((m - 1) * stride - 2 * pad + k) for n, m, k in zip(shape_in[1:], size, weight.shape[2:])]
            self.shape_out = (weight.shape[0], *size)
        self.magnitude = weight.abs()
        self.shift = bias if shape_in is None else bias[:, None, None].expand(self.shape_out).reshape(-1)
        # Where backward passes start, and what they start with: one row for each neuron.
        self.rows = weight if shape_in is None else self.back(torch.eye(self.shift.numel()).to(weight)[None])[0]

    def forward(self, centre, radius):
        """The interval of every neuron, as centre and radius."""
        if self.shape_in is None:
            return centre @ self.weight.T + self.bias, radius @ self.magnitude.T
        conv = lambda x, w, b: F.conv2d(x.view(-1, *self.shape_in), w, b, self.stride, self.pad).flatten(1)
        return conv(centre, self.weight, self.bias), conv(radius, self.magnitude, None)

    def back(self, rows):
        """Coefficients `[..., n_out]` of this layer's outputs as coefficients of its inputs."""
        if self.shape_in is None:
            return (rows.flatten(0, 1) @ self.weight).unflatten(0, rows.shape[:2])
        image = rows.reshape(-1, *self.shape_out)
        image = F.conv_transpose2d(image, self.weight, None, self.stride, self.pad, self.extra)
        return image.flatten(1).unflatten(0, rows.shape[:2])


def read_network(path, device="cpu", dtype=torch.float32):
    """The affine layers of a chain with a Relu between each two."""
    graph = onnx.load(path).graph
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    shape = next([d.dim_value for d in i.type.tensor_type.shape.dim] for i in graph.input if i.name not in constants)
    layers, offset, n_relus = [], None, 0
    tensor = lambda x: torch.tensor(np.array(x, dtype=np.float64), device=device).to(dtype)
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        values = [constants.get(name) for name in node.input[1:]]
        if node.op_type == "Sub" and not layers:
            offset = -values[0].reshape(-1).astype(np.float64)
        elif node.op_type in ("Gemm", "MatMul"):
            weight = values[0] if attributes.get("transB") else values[0].T
            bias = values[1] if len(values) > 1 else np.zeros(weight.shape[0])
            if offset is not None:
                bias, offset = bias + weight @ offset, None
            layers.append([weight, bias])
        elif node.op_type == "Add":
            layers[-1][1] = layers[-1][1] + values[0].reshape(-1)
        elif node.op_type == "Conv":
            image = tuple(shape[1:]) if not layers else Affine(*map(tensor, layers[-1][:2]), *layers[-1][2:]).shape_out
            layers.append([*values, attributes["strides"][0], attributes["pads"][0], image])
        elif node.op_type == "Relu":
            n_relus += 1
        elif node.op_type != "Flatten":
            raise SystemExit(f"{path}: {node.op_type} is not read here")
    assert n_relus == len(layers) - 1 and offset is None, f"{path}: not a chain with a Relu between affine layers"
    return [Affine(tensor(layer[0]), tensor(layer[1]), *layer[2:]) for layer in layers]


def read_box(path):
    """The box of a VNN-LIB property that has one."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
        found = re.findall(r"\(assert \((<=|>=) X_(\d+) (\S+?)\)\)", file.read())
    ends = {"<=": {}, ">=": {}}
    for relation, i, value in found:
        ends[relation][int(i)] = float(value)
    return [np.array([ends[side][i] for i in range(len(ends[side]))]) for side in (">=", "<=")]


def interval(layer, lower, upper):
    centre, radius = layer.forward((upper + lower) / 2, (upper - lower) / 2)
    return centre - radius, centre + radius


def relax(lower, upper):
    """Slope of the lower line, slope and intercept of the upper line of every ReLU."""
    on, off = lower >= 0, upper <= 0
    slope = torch.where(on, 1.0, torch.where(off, 0.0, upper / (upper - lower)))
    slope = slope.to(lower)
    return ((on | (upper > -lower)) & ~off).to(lower), slope, torch.where(on | off, 0.0, -slope * lower).to(lower)


def walk(layers, k, boxes, neurons, relaxed, lower, upper):
    """Both ends of the chosen neurons of layer `k`, `neurons[g]` of box `boxes[g]` (`None`: of every box; every neuron)."""
    of = (lambda x: x[:, None]) if boxes is None else (lambda x: x[boxes][:, None])
    if neurons is None:
        rows, shift = layers[k].rows.expand(len(lower), -1, -1), layers[k].shift.expand(len(lower), -1)
    else:
        rows, shift = layers[k].rows[neurons], layers[k].shift[neurons]
    rows, shift = torch.cat([rows, -rows], 1), torch.cat([shift, -shift], 1)
    for layer, (below, above, intercept) in zip(reversed(layers[:k]), reversed(relaxed)):
        is_positive = rows >= 0
        shift = shift + torch.where(is_positive, 0.0, rows * of(intercept)).sum(-1)
        rows = rows * torch.where(is_positive, of(below), of(above))
        shift = shift + rows @ layer.shift
        rows = layer.back(rows)
    ends = shift + torch.where(rows >= 0, rows * of(lower), rows * of(upper)).sum(-1)
    low, high = ends.chunk(2, 1)
    return low, -high


class Crown:
    """Bounds of a batch of boxes; compiled, or eager where that fails."""

    def __init__(self, layers, form="flat", keep=True, compiled=True):
        self.layers, self.form, self.keep, self.mode = layers, form, keep, "eager"
        self.interval, self.relax, self.walk = interval, relax, walk
        if compiled:
            torch._dynamo.config.recompile_limit = 128
            self.mode = "compiled"
            # Once for all shapes; but of convolutions, whose symbolic shapes take it minutes, for those at hand.
            dynamic = all(layer.shape_in is None for layer in layers)
            self.interval, self.relax, self.walk = (torch.compile(f, dynamic=dynamic) for f in (interval, relax, walk))

    def __call__(self, lower, upper):
        try:
            return self.bounds(lower, upper)
        except Exception as error:  # The compiler's errors have no common type.
            if self.mode == "eager":
                raise
            print(f"torch.compile: {type(error).__name__}: {str(error)[:200]}; going on eagerly", file=sys.stderr)
            self.mode, self.interval, self.relax, self.walk = "eager (fallback)", interval, relax, walk
            return self.bounds(lower, upper)

    @torch.no_grad()
    def bounds(self, lower, upper):
        """Both ends of all outputs; counts what intervals left undecided, and backward rows."""
        low, high = self.interval(self.layers[0], lower, upper)
        relaxed, self.n_undecided, self.n_rows = [], int(((low < 0) & (high > 0)).sum()), 0
        for k in range(1, len(self.layers)):
            relaxed.append(self.relax(low, high))
            low, high = self.interval(self.layers[k], low.relu(), high.relu())
            undecided, is_last = (low < 0) & (high > 0), k + 1 == len(self.layers)
            counts = undecided.sum(1)
            self.n_undecided += 0 if is_last else int(counts.sum())
            if not (is_last or counts.any()):
                continue
            boxes = neurons = None
            if self.form == "flat" and not is_last:
                boxes, neurons = undecided.nonzero(as_tuple=True)
                found = [end[:, 0] for end in self.walk(self.layers, k, boxes, neurons[:, None], relaxed, lower, upper)]
                self.n_rows += 2 * len(boxes)
                at = (boxes, neurons)
                ends = [low.index_put(at, found[0]), high.index_put(at, found[1])]
            else:
                if self.form == "padded" and not is_last:
                    neurons = undecided.float().topk(int(counts.max()), sorted=False).indices
                found = self.walk(self.layers, k, None, neurons, relaxed, lower, upper)
                self.n_rows += 2 * found[0].numel()
                ends = [low.scatter(1, neurons, found[0]), high.scatter(1, neurons, found[1])] if neurons is not None else found
            low, high = (low.maximum(ends[0]), high.minimum(ends[1])) if self.keep else ends
        return low, high


def sub_boxes(lower, upper, n, scale, seed, like):
    """Random boxes inside a box whose sides are `scale` times shorter, their places uniform."""
    sides = (upper - lower) / scale
    starts = lower + np.random.default_rng(seed).random((n, len(lower))) * (upper - lower - sides)
    return [torch.tensor(x).to(like) for x in (starts, starts + sides)]


def measure(crown, lower, upper, repeat):
    """Seconds of each of `repeat` batches, and the processor seconds (all threads) of all of them."""
    wait = torch.cuda.synchronize if lower.is_cuda else lambda: None
    times, cpu = [], time.process_time()
    for _ in range(repeat):
        start = time.perf_counter()
        crown(lower, upper)
        wait()
        times.append(time.perf_counter() - start)
    return times, time.process_time() - cpu


def check(diadem, network, prop):
    """Fails unless f64 bounds of the whole box lie inside those of `diadem bounds`, closer than 1e-4 of their width; slack aside.

    Slack is counted four times: `diadem` states that of the outputs' own rows, and slack of the neurons widens outputs as well.
    Returns the largest difference over the width, and the share of it that is stated slack.
    """
    command = [diadem, "--device", "host", "bounds", "--network", network, "--property", prop, "--json", "-"]
    ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    layers = read_network(network, dtype=torch.float64)
    box = [torch.tensor(end)[None] for end in read_box(prop)]
    worst = (0.0, 0.0)
    for form in ("flat", "padded"):
        # `diadem bounds` takes the tighter of two passes: neurons intersected with their intervals, and not.
        ends = [Crown(layers, form, keep, compiled=False)(*box) for keep in (True, False)]
        low, high = (f(*(e[i][0] for e in ends)).numpy() for i, f in enumerate((torch.maximum, torch.minimum)))
        width, slack = high - low, np.array(ours["slack"])
        for gap in (low - ours["lower"], ours["upper"] - high):
            if (gap < 0).any() or (gap > 1e-4 * width + 4 * slack).any():
                raise SystemExit(f"{network}: {form} bounds differ by {gap / width} of the width (slack: {slack / width})")
            i = (gap / width).argmax()
            worst = max(worst, (gap[i] / width[i], slack[i] / width[i]))
    return worst


def check_golden(golden, network, prop):
    """The largest difference over the width to the `crown` bounds of an independent implementation, if the folder has this box."""
    for path in glob.glob(f"{golden}/*.json"):
        with open(path) as file:
            case = json.load(file)
        if case["shrink"] == 1 and network.endswith(case["model"]) and prop.endswith(case["vnnlib"]):
            layers = read_network(network, dtype=torch.float64)
            box = [torch.tensor(case[f"input_{side}"], dtype=torch.float64).view(1, -1) for side in ("lower", "upper")]
            expected = [np.array(case["crown"][side]).reshape(-1) for side in ("lower", "upper")]
            gaps = [np.abs(end[0].numpy() - e) for end, e in zip(Crown(layers, "flat", False, compiled=False)(*box), expected)]
            return float((np.maximum(*gaps) / (expected[1] - expected[0])).max())
    return None


def prepare(network, prop, batch, scale, seed, device, forms=FORMS, modes=(True, False)):
    """Warmed-up bounds of a batch in every form, the fastest by processor time (wall time on a GPU) first."""
    layers = read_network(network, device)
    boxes = sub_boxes(*read_box(prop), batch, scale, seed, layers[0].bias)
    found = []
    for form, compiled in itertools.product(forms, modes):
        crown = Crown(layers, form, compiled=compiled)
        low, high = crown(*boxes)
        crown.mean_width = float((high - low).mean())
        times, cpu = measure(crown, *boxes, 3)
        crown.rate = 3 * batch / (sum(times) if device == "cuda" else cpu)
        found.append(crown)
    return boxes, sorted(found, key=lambda crown: -crown.rate)


def set_threads(threads):
    """Before anything else: products of small weights are flushed, not slow, and threads started later do as this one does."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True)
    parser.add_argument("--property", required=True)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--scale", type=float, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--diadem", help="compare the bounds of the whole box with this program's")
    options = parser.parse_args()
    set_threads(options.threads)
    if options.diadem:
        gap, slack = check(options.diadem, options.network, options.property)
        print(f"bounds of the whole box: within {gap:.1e} of their width of diadem's, whose slack is {slack:.1e}")
    boxes, crowns = prepare(
        options.network, options.property, options.batch, options.scale, options.seed, options.device, options.forms
    )
    for crown in crowns:
        times, cpu = measure(crown, *boxes, options.repeat)
        rate, per_core = options.batch / statistics.median(times), options.batch * options.repeat / cpu
        rows, undecided = crown.n_rows / options.batch, crown.n_undecided / options.batch
        print(
            f"{crown.form:7}{crown.mode:18}{rate:10.0f} boxes/s {per_core:10.0f} /core-s  "
            f"{rows:.1f} rows, {undecided:.1f} undecided, mean width {crown.mean_width:.3g}"
        )


if __name__ == "__main__":
    main()
