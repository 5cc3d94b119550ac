"""Writes the tiny networks of this folder: one good one, and one for every way in which a file can be wrong.

Needs the package `onnx`; run it in this folder: python3 make_networks.py
"""

import onnx
from onnx import TensorProto, helper

FLOAT = TensorProto.FLOAT


def network(nodes, constants, shape=(1, 2), output=(1, 2)):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, output)],
        [helper.make_tensor(name, FLOAT, dims, values) for name, dims, values in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


def dense(weight="w", bias="b", name="dense"):
    return helper.make_node("Gemm", ["x", weight, bias], ["h"], name=name, transB=1)


RELU = helper.make_node("Relu", ["h"], ["y"], name="relu")
# y_0 = max(x_0 + x_1, 0), y_1 = max(x_0 - x_1, 0).
WEIGHT = ("w", [2, 2], [1.0, 1.0, 1.0, -1.0])
BIAS = ("b", [2], [0.0, 0.0])

good = network([dense(), RELU], [WEIGHT, BIAS])
files = {
    "tiny": good,
    "truncated": good[: len(good) // 2],
    "missing_initialiser": network([dense(), RELU], [WEIGHT]),
    "shape_mismatch": network([dense(), RELU], [("w", [2, 3], [1.0] * 6), BIAS]),
    "unknown_operator": network([dense(), helper.make_node("Frobnicate", ["h"], ["y"], name="strange")], [WEIGHT, BIAS]),
    "nan_weight": network([dense(), RELU], [("w", [2, 2], [1.0, float("nan"), 1.0, -1.0]), BIAS]),
    "dynamic_shape": network([dense(), RELU], [WEIGHT, BIAS], shape=(1, "width")),
}
for name, content in files.items():
    with open(f"{name}.onnx", "wb") as file:
        file.write(content)
with open("not_a_model.onnx", "w") as file:
    file.write("this is no protobuf\n")
