"""The edge family's animate graph: the warp as ONNX, for engines that keep the source on a device.

`frame = skin(skin_map) · (1 − a) + inner(inner_map) · shade · a`, rounded to nearest; bilinear, borders repeated.
Pixel positions become GridSample's normalised ones inside the graph; all sizes are dynamic.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
"""GridSample as ONNX Runtime, OpenVINO and TensorRT all read it."""


def build_edge_graph() -> onnx.ModelProto:
    """The animate graph.

    Inputs: `skin` (T, T, 3) and `inner` (h, w, 3) uint8 RGB; `skin_map`, `inner_map` (H, W, 2) float32 pixel
    positions; `inner_alpha`, `inner_shade` (H, W) uint8. Output: `frame` (H, W, 3) uint8 RGB.
    """
    nodes: list[onnx.NodeProto] = []
    constants = {
        "axis0": np.array([0], np.int64),
        "axis01": np.array([0, 1], np.int64),
        "two": np.array(2, np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
        "byte": np.array(1 / 255, np.float32),
        "top": np.array(255, np.float32),
        "zero": np.array(0, np.float32),
        "width_height": np.array([1, 0], np.int64),
    }

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def sampled(picture: str, positions: str) -> str:
        """(1, 3, H, W) float32: a picture (h, w, 3) read at pixel positions (H, W, 2)."""
        p = picture + "_"
        node("Cast", [picture], p + "float", to=TensorProto.FLOAT)
        node("Transpose", [p + "float"], p + "planes", perm=[2, 0, 1])
        node("Unsqueeze", [p + "planes", "axis0"], p + "batch")
        # Align corners: −1 and 1 are the centres of the first and last pixel.
        node("Shape", [picture], p + "shape")
        node("Gather", [p + "shape", "width_height"], p + "size")
        node("Cast", [p + "size"], p + "size_float", to=TensorProto.FLOAT)
        node("Sub", [p + "size_float", "one"], p + "last")
        node("Mul", [positions, "two"], p + "twice")
        node("Div", [p + "twice", p + "last"], p + "ratio")
        node("Sub", [p + "ratio", "one"], p + "grid3")
        node("Unsqueeze", [p + "grid3", "axis0"], p + "grid")
        return node(
            "GridSample",
            [p + "batch", p + "grid"],
            p + "sampled",
            mode="bilinear",
            padding_mode="border",
            align_corners=1,
        )

    def weight(name: str) -> str:
        """(1, 1, H, W) float32 in [0, 1]."""
        node("Cast", [name], name + "_float", to=TensorProto.FLOAT)
        node("Mul", [name + "_float", "byte"], name + "_unit")
        return node("Unsqueeze", [name + "_unit", "axis01"], name + "_weight")

    front, behind = sampled("skin", "skin_map"), sampled("inner", "inner_map")
    alpha, shade = weight("inner_alpha"), weight("inner_shade")
    node("Mul", [behind, shade], "lit")
    node("Sub", ["lit", front], "difference")
    node("Mul", ["difference", alpha], "change")
    node("Add", [front, "change"], "mixed")
    node("Add", ["mixed", "half"], "raised")
    node("Floor", ["raised"], "rounded")
    node("Clip", ["rounded", "zero", "top"], "bounded")
    node("Squeeze", ["bounded", "axis0"], "planes")
    node("Transpose", ["planes"], "pixels", perm=[1, 2, 0])
    node("Cast", ["pixels"], "frame", to=TensorProto.UINT8)

    def tensor(name: str, kind: int, shape: list[object]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "edge_animate",
        [
            tensor("skin", TensorProto.UINT8, ["skin_h", "skin_w", 3]),
            tensor("inner", TensorProto.UINT8, ["inner_h", "inner_w", 3]),
            tensor("skin_map", TensorProto.FLOAT, ["height", "width", 2]),
            tensor("inner_map", TensorProto.FLOAT, ["height", "width", 2]),
            tensor("inner_alpha", TensorProto.UINT8, ["height", "width"]),
            tensor("inner_shade", TensorProto.UINT8, ["height", "width"]),
        ],
        [tensor("frame", TensorProto.UINT8, ["height", "width", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="icface-live"
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model
