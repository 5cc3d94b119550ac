"""Prints what onnxruntime computes for models, one line each: the path, a colon, the outputs.

    python3 record.py <folder> [<path in it> ...]

With no paths, every `.onnx` directly in the folder. `recorded_operators.txt` comes from the models that the ignored test
`dump_models` writes, `recorded_networks.txt` from the benchmark networks that it names.
"""
import gzip
import pathlib
import sys

import numpy as np
import onnxruntime as ort

folder = pathlib.Path(sys.argv[1])
for name in sys.argv[2:] or sorted(path.name for path in folder.glob("*.onnx")):
    model = (folder / name).read_bytes()
    if name.endswith(".gz"):
        model = gzip.decompress(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = [n if isinstance(n, int) else 1 for n in given.shape]
    n_inputs = int(np.prod(shape))
    x = np.array([((k * 37 + 11) % 101) / 16 - 3 for k in range(n_inputs)], dtype=np.float32)
    (y,) = session.run(None, {given.name: x.reshape(shape)})
    print(f"{name}: {' '.join(str(value) for value in y.ravel())}")
