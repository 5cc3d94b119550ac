"""`diadem bench bounds` beside `crown_torch`, taking turns on one machine; prints a table."""

import argparse
import json
import os
import statistics
import subprocess

import torch

from crown_torch import check, check_golden, measure, prepare, set_threads

ACAS = ("acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx", "acasxu/vnnlib/prop_1.vnnlib")
CASES = [
    ("ACAS Xu 1_1, 1", *ACAS, 4096, 32),
    ("ACAS Xu 1_1, 1", *ACAS, 4096, 8),
    ("mnist_fc 256x4, prop_0_0.03", "mnist_fc/onnx/mnist-net_256x4.onnx", "mnist_fc/vnnlib/prop_0_0.03.vnnlib.gz", 256, 32),
    ("mnist_fc 256x6, prop_0_0.03", "mnist_fc/onnx/mnist-net_256x6.onnx", "mnist_fc/vnnlib/prop_0_0.03.vnnlib.gz", 256, 32),
    (
        "oval21 cifar_base_kw, img8194",
        "oval21/onnx/cifar_base_kw.onnx",
        "oval21/vnnlib/cifar_base_kw-img8194-eps0.018300653594771243.vnnlib.gz",
        64,
        32,
    ),
]
# On the processor the dense form bounds 2 to 70 times as many rows and is never the fastest.
FORMS = {"cpu": ("flat", "padded"), "cuda": ("flat", "padded", "dense")}


def ours(diadem, device, threads, network, prop, batch, scale, repeat):
    command = [diadem, "--device", device, "--threads", str(threads), "--json", "-", "bench", "bounds"]
    command += ["--network", network, "--property", prop]
    command += ["--batch", str(batch), "--scale", str(scale), "--repeat", str(repeat)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--diadem", required=True)
    parser.add_argument("--data", default=os.environ.get("DIADEM_DATA", "../shared/data"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5, help="batches a turn")
    parser.add_argument("--threads", type=int, default=1, help="of either")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    set_threads(options.threads)
    is_cpu = options.device == "cpu"
    unit = "core-second" if is_cpu else "second"
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads; {options.turns} turns of {options.repeat} batches")
    print(f"| network, property | batch | sides | diadem, boxes per {unit} | torch | ratio (range) | form | rows / box: diadem, torch | mean width: diadem, torch | whole box: gap, slack; golden |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, network, prop, batch, scale in CASES:
        if options.only not in name:
            continue
        network, prop = os.path.join(options.data, "vnncomp", network), os.path.join(options.data, "vnncomp", prop)
        gap, slack = check(options.diadem, network, prop)
        golden = check_golden(os.path.join(options.data, "golden"), network, prop)
        boxes, crowns = prepare(network, prop, batch, scale, 0, options.device, FORMS[options.device])
        best, pairs = crowns[0], []
        for _ in range(options.turns):
            first = ours(
                options.diadem, "host" if is_cpu else "gpu", options.threads, network, prop, batch, scale, options.repeat
            )
            times, cpu = measure(best, *boxes, options.repeat)
            second = batch * options.repeat / cpu if is_cpu else batch / statistics.median(times)
            pairs.append((first["subdomains_per_core_s" if is_cpu else "subdomains_per_s"], second))
        ratios = sorted(a / b for a, b in pairs)
        a, b = (statistics.median(column) for column in zip(*pairs))
        print(
            f"| {name} | {batch} | 1/{scale} | {a:,.0f} | {b:,.0f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) "
            f"| {best.form}, {best.mode} | {first['rows_per_subdomain']:.1f}, {best.n_rows / batch:.1f} "
            f"| {first['mean_width']:.3g}, {best.mean_width:.3g} | {gap:.1e}, {slack:.1e}; {'none' if golden is None else f'{golden:.0e}'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
