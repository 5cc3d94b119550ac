"""Prints `recorded.txt`: the outputs of onnxruntime for the models that the ignored test `dump_models` writes.

    python3 record.py <folder> > recorded.txt
"""
import pathlib
import sys

import numpy as np
import onnxruntime as ort

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    n = int(np.prod(given.shape))
    x = np.array([((k * 37 + 11) % 101) / 16 - 3 for k in range(n)], dtype=np.float32)
    (y,) = session.run(["y"], {given.name: x.reshape(given.shape)})
    print(f"{path.stem[4:]}: {' '.join(str(value) for value in y.ravel())}")
