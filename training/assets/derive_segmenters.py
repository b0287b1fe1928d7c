"""Rewrites MediaPipe's two segmentation networks as ONNX, which every engine reads.

    python training/assets/derive_segmenters.py --models ../shared/models

The .tflite files have operators of MediaPipe's own, which only its package runs. Here they become operators of ONNX. An
unpooling puts each value where the pooling had found its maximum; that place is where the input equals the maximum.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import argparse
from typing import Any, Final

import numpy as np
import onnx
import tflite
from onnx import helper, numpy_helper

from icface.command import Parser, run_command
from icface.segmentation.segmenters import FOLDER

FILES: Final = {"selfie_segmentation.tflite": "person.onnx", "hair_segmenter_meta.tflite": "hair.onnx"}
_UNARY: Final = {"RELU": "Relu", "HARD_SWISH": "HardSwish", "LOGISTIC": "Sigmoid"}
_BINARY: Final = {"ADD": "Add", "MUL": "Mul", "PRELU": "PRelu"}
_FUSED: Final[dict[int, tuple[str, tuple[float, ...]]]] = {
    tflite.ActivationFunctionType.RELU: ("Relu", ()),
    tflite.ActivationFunctionType.RELU6: ("Clip", (0.0, 6.0)),
}
_NAMES: Final = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_TYPES: Final = {0: np.float32, 1: np.float16, 2: np.int32}


class Converter:
    """Reads one .tflite file. Its tensors are (1, H, W, C), those of the graph (1, C, H, W)."""

    def __init__(self, content: bytes) -> None:
        self._model = tflite.Model.GetRootAsModel(content, 0)
        self._graph = self._model.Subgraphs(0)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._known: dict[int, np.ndarray[Any, Any]] = {}

    def convert(self) -> onnx.ModelProto:
        """The graph; its input and output are called `image` and `mask`."""
        for number in range(self._graph.OperatorsLength()):
            self._operator(self._graph.Operators(number))
        ends = []
        for name, tensor in (("image", self._graph.Inputs(0)), ("mask", self._graph.Outputs(0))):
            _, height, width, channels = self._shape(tensor)
            ends.append(
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, height, width])
            )
            self._nodes.append(self._renamed(name, tensor))
        self._nodes.insert(0, self._nodes.pop(-2))
        graph = helper.make_graph(self._nodes, "segmenter", ends[:1], ends[1:], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _renamed(self, name: str, tensor: int) -> Any:
        ends = [name, f"t{tensor}"] if name == "image" else [f"t{tensor}", name]
        return helper.make_node("Identity", ends[:1], ends[1:])

    def _shape(self, tensor: int) -> list[int]:
        return [int(size) for size in self._graph.Tensors(tensor).ShapeAsNumpy()]

    def _value(self, tensor: int) -> np.ndarray[Any, Any] | None:
        """A constant, in float32; None where the tensor is computed."""
        if tensor in self._known:
            return self._known[tensor]
        facts = self._graph.Tensors(tensor)
        buffer = self._model.Buffers(facts.Buffer())
        if buffer.DataLength() == 0:
            return None
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), _TYPES[facts.Type()])
        return values.reshape(self._shape(tensor)).astype(np.float32)

    def _constant(self, values: np.ndarray[Any, Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _double(self) -> str:
        return self._constant(np.array([1, 1, 2, 2], dtype=np.float32))

    def _input(self, tensor: int) -> str:
        """The name of an operand; a constant has its channels moved to the front."""
        values = self._value(tensor)
        if values is None:
            return f"t{tensor}"
        if values.ndim > 1:
            return self._constant(np.moveaxis(values, -1, values.ndim - 3))
        return self._constant(values.reshape(-1, 1, 1))

    def _add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def _operator(self, operator: Any) -> None:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        kind = _NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        kind = code.CustomCode().decode() if kind == "CUSTOM" else kind
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
        out = f"t{outputs[0]}"

        def options(name: str) -> Any:
            found = getattr(tflite, f"{name}Options")()
            table = operator.BuiltinOptions()
            found.Init(table.Bytes, table.Pos)
            return found

        fused = 0
        if kind == "DEQUANTIZE":
            values = self._value(inputs[0])
            assert values is not None
            self._known[outputs[0]] = values
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            apart = kind != "CONV_2D"
            found = options("DepthwiseConv2D" if apart else "Conv2D")
            fused = found.FusedActivationFunction()
            self._convolution(inputs, f"{out}_raw" if fused else out, found, apart)
        elif kind in _UNARY:
            self._add(_UNARY[kind], [f"t{inputs[0]}"], [out])
        elif kind in _BINARY:
            fused = 0 if kind == "PRELU" else options(kind.title()).FusedActivationFunction()
            self._add(_BINARY[kind], [self._input(i) for i in inputs], [f"{out}_raw" if fused else out])
        elif kind == "AVERAGE_POOL_2D":
            assert self._shape(outputs[0])[1:3] == [1, 1]
            self._add("GlobalAveragePool", [f"t{inputs[0]}"], [out])
        elif kind == "RESIZE_BILINEAR":
            found = options("ResizeBilinear")
            mode = (
                "align_corners"
                if found.AlignCorners()
                else "half_pixel"
                if found.HalfPixelCenters()
                else "asymmetric"
            )
            _, height, width, channels = self._shape(outputs[0])
            size = self._constant(np.array([1, channels, height, width], dtype=np.int64))
            names = [f"t{inputs[0]}", "", "", size]
            self._add("Resize", names, [out], mode="linear", coordinate_transformation_mode=mode)
        elif kind == "CONCATENATION":
            self._add("Concat", [f"t{i}" for i in inputs], [out], axis=1)
        elif kind == "MaxPoolingWithArgmax2D":
            self._add("MaxPool", [f"t{inputs[0]}"], [out], kernel_shape=[2, 2], strides=[2, 2])
            self._add("Resize", [out, "", self._double()], [f"{out}_up"], mode="nearest")
            self._add("Equal", [f"t{inputs[0]}", f"{out}_up"], [f"t{outputs[1]}"])
        elif kind == "MaxUnpooling2D":
            self._add("Resize", [f"t{inputs[0]}", "", self._double()], [f"{out}_up"], mode="nearest")
            self._add(
                "Where", [f"t{inputs[1]}", f"{out}_up", self._constant(np.zeros(1, dtype=np.float32))], [out]
            )
        elif kind == "Convolution2DTransposeBias":
            weights, bias = self._value(inputs[1]), self._value(inputs[2])
            assert weights is not None and bias is not None
            # The output is twice as large. What a kernel of 3 has too much is cut at the end.
            cut = weights.shape[1] - 2
            names = [
                f"t{inputs[0]}",
                self._constant(weights.transpose(3, 0, 1, 2)),
                self._constant(bias.reshape(-1)),
            ]
            self._add("ConvTranspose", names, [out], strides=[2, 2], pads=[0, 0, cut, cut])
        else:
            raise NotImplementedError(kind)
        if fused:
            name, bounds = _FUSED[fused]
            limits = [self._constant(np.array(bound, dtype=np.float32)) for bound in bounds]
            self._add(name, [f"{out}_raw", *limits], [out])

    def _convolution(self, inputs: list[int], out: str, found: Any, apart: bool) -> None:
        weights, bias = self._value(inputs[1]), self._value(inputs[2])
        assert weights is not None and bias is not None
        weights = weights.transpose(3, 0, 1, 2) if apart else weights.transpose(0, 3, 1, 2)
        _, height, width, channels = self._shape(inputs[0])
        strides = [found.StrideH(), found.StrideW()]
        dilations = [found.DilationHFactor(), found.DilationWFactor()]
        pads = [0, 0, 0, 0]
        if found.Padding() == tflite.Padding.SAME:
            for axis, size in enumerate((height, width)):
                reach = (weights.shape[2 + axis] - 1) * dilations[axis] + 1
                total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
                pads[axis], pads[axis + 2] = total // 2, total - total // 2
        names = [f"t{inputs[0]}", self._constant(weights), self._constant(bias)]
        group = channels if apart else 1
        self._add("Conv", names, [out], strides=strides, dilations=dilations, pads=pads, group=group)


def arguments() -> Parser:
    """All flags."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder with MediaPipe's .tflite files")
    parser.add_argument("--out", type=Path, default=FOLDER, help="(default: where the package has them)")
    return parser


def derive(flags: argparse.Namespace) -> None:
    """Write both networks."""
    for name, target in FILES.items():
        model = Converter((flags.models / name).read_bytes()).convert()
        onnx.save(model, str(flags.out / target))
        print(flags.out / target)


if __name__ == "__main__":
    sys.exit(run_command(arguments(), derive))
