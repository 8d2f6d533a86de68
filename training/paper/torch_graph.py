# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle's ONNX graph as a torch network: so G can be differentiated in v without the checkpoint it was made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

Attributes = Mapping[str, Any]
# Inputs that a node leaves out are None; outputs are always a tuple.
Operator = Callable[[Sequence[Any], Attributes], Any]

_GRID_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
_RESIZE_MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


class UnknownOperatorError(ValueError):
    """A graph with an operator that this reader does not know."""


class TorchGraph:
    """An ONNX graph run by torch, operator by operator, differentiable in its inputs.

    It knows the operators that the exports of this project's backbones use.
    """

    def __init__(self, path: Path) -> None:
        """Read the graph.

        Raises:
            UnknownOperatorError: naming the file and the operator.
        """
        graph = onnx.load(str(path)).graph
        self._nodes = [
            (
                _OPERATORS.get(node.op_type),
                list(node.input),
                list(node.output),
                {item.name: _attribute(item) for item in node.attribute},
            )
            for node in graph.node
        ]
        unknown = sorted({node.op_type for node in graph.node if node.op_type not in _OPERATORS})
        if unknown:
            raise UnknownOperatorError(f"{path}: {', '.join(unknown)}: operators that cannot be differentiated here")
        self._constants = {
            item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer
        }
        self.inputs = [item.name for item in graph.input if item.name not in self._constants]
        self.outputs = [item.name for item in graph.output]

    def __call__(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name of inputs by name."""
        known: dict[str, Any] = dict(self._constants)
        known.update(feeds)
        for operator, inputs, outputs, attributes in self._nodes:
            assert operator is not None
            made = operator([known[name] if name else None for name in inputs], attributes)
            made = made if isinstance(made, tuple) else (made,)
            known.update(zip(outputs, made, strict=False))
        return {name: known[name] for name in self.outputs}


def _attribute(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return value.decode() if isinstance(value, bytes) else value


def _list(values: Tensor | Sequence[int]) -> list[int]:
    return [int(value) for value in (values.tolist() if isinstance(values, Tensor) else values)]


def _constant(_: Sequence[Any], attributes: Attributes) -> Tensor:
    value = attributes["value"] if "value" in attributes else next(iter(attributes.values()))
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _slice(inputs: Sequence[Any], _: Attributes) -> Tensor:
    data, starts, ends = inputs[0], _list(inputs[1]), _list(inputs[2])
    axes = _list(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else list(range(len(starts)))
    steps = _list(inputs[4]) if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        rows = range(data.shape[axis])[slice(start, None if step < 0 and end < -data.shape[axis] else end, step)]
        if step == 1:
            data = data.narrow(axis, rows.start, len(rows))
        else:
            data = data.index_select(axis, torch.tensor(list(rows), dtype=torch.int64))
    return data


def _reshape(inputs: Sequence[Any], _: Attributes) -> Tensor:
    data, shape = inputs[0], _list(inputs[1])
    return data.reshape([data.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _unsqueeze(inputs: Sequence[Any], _: Attributes) -> Tensor:
    data, axes = inputs[0], _list(inputs[1])
    rank = data.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        data = data.unsqueeze(axis)
    return data


def _squeeze(inputs: Sequence[Any], _: Attributes) -> Tensor:
    if len(inputs) < 2 or inputs[1] is None:
        return inputs[0].squeeze()
    return inputs[0].squeeze(tuple(_list(inputs[1])))


def _gather(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    data, rows = inputs
    axis = int(attributes.get("axis", 0)) % data.dim()
    rows = torch.where(rows < 0, rows + data.shape[axis], rows)
    picked = data.index_select(axis, rows.reshape(-1))
    return picked.reshape([*data.shape[:axis], *rows.shape, *data.shape[axis + 1 :]])


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def reduced(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
        data = inputs[0]
        given = inputs[1] if len(inputs) > 1 and inputs[1] is not None else attributes.get("axes")
        axes = tuple(range(data.dim())) if given is None else tuple(_list(given))
        return function(data, axes, bool(attributes.get("keepdims", 1)))

    return reduced


def _pads(pads: Sequence[int]) -> tuple[list[int], bool]:
    """Return torch's order of ONNX's pads (all starts, then all ends), and whether both ends are alike."""
    half = len(pads) // 2
    pairs = list(zip(pads[:half], pads[half:], strict=True))
    return [edge for pair in reversed(pairs) for edge in pair], all(a == b for a, b in pairs)


def _convolve(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    data, weight = inputs[:2]
    bias = inputs[2] if len(inputs) > 2 else None
    order, _ = _pads(attributes.get("pads", [0, 0, 0, 0]))
    if any(order):
        data = F.pad(data, order)
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    return F.conv2d(data, weight, bias, stride, 0, dilation, int(attributes.get("group", 1)))


def _convolve_transposed(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    data, weight = inputs[:2]
    bias = inputs[2] if len(inputs) > 2 else None
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    return F.conv_transpose2d(
        data,
        weight,
        bias,
        attributes.get("strides", [1, 1]),
        pads[: len(pads) // 2],
        attributes.get("output_padding", [0, 0]),
        int(attributes.get("group", 1)),
        attributes.get("dilations", [1, 1]),
    )


def _pool(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    counted = bool(attributes.get("count_include_pad", 0))
    return F.avg_pool2d(inputs[0], attributes["kernel_shape"], attributes["strides"], pads[:2], False, counted)


def _resize(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    data = inputs[0]
    if len(inputs) > 3 and inputs[3] is not None:
        size = _list(inputs[3])[2:]
    else:
        size = [round(edge * float(scale)) for edge, scale in zip(data.shape[2:], inputs[2][2:], strict=True)]
    mode = _RESIZE_MODES[attributes.get("mode", "nearest")]
    if mode == "nearest":
        return F.interpolate(data, size, mode=mode)
    aligned = attributes.get("coordinate_transformation_mode") == "align_corners"
    return F.interpolate(data, size, mode=mode, align_corners=aligned)


def _sample(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    return F.grid_sample(
        inputs[0],
        inputs[1],
        _GRID_MODES[attributes.get("mode", "linear")],
        attributes.get("padding_mode", "zeros"),
        bool(attributes.get("align_corners", 0)),
    )


def _gemm(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    a, b = inputs[:2]
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if len(inputs) < 3 or inputs[2] is None else product + attributes.get("beta", 1.0) * inputs[2]


def _normalise_instance(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    data, scale, bias = inputs
    return F.instance_norm(data, weight=scale, bias=bias, eps=attributes.get("epsilon", 1e-5))


def _normalise_batch(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    data, scale, bias, mean, variance = inputs
    return F.batch_norm(data, mean, variance, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def _split(inputs: Sequence[Any], attributes: Attributes) -> tuple[Tensor, ...]:
    axis = int(attributes.get("axis", 0))
    if len(inputs) > 1 and inputs[1] is not None:
        return torch.split(inputs[0], _list(inputs[1]), axis)
    return torch.tensor_split(inputs[0], int(attributes["num_outputs"]), axis)


def _clip(inputs: Sequence[Any], _: Attributes) -> Tensor:
    low, high = (inputs[place] if len(inputs) > place else None for place in (1, 2))
    return torch.clamp(inputs[0], low, high)


def _cast(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    kind = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    return inputs[0].to(getattr(torch, str(kind)))


def _filled(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    value = attributes.get("value", torch.zeros(1))
    return value.reshape(()).expand(_list(inputs[0])).clone()


def _expand(inputs: Sequence[Any], _: Attributes) -> Tensor:
    # Either shape may have ones where the other has more.
    shape = torch.broadcast_shapes(inputs[0].shape, tuple(_list(inputs[1])))
    return inputs[0].expand(shape)


def _flatten(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    axis = int(attributes.get("axis", 1))
    rows = 1
    for size in inputs[0].shape[:axis]:
        rows *= size
    return inputs[0].reshape(rows, -1)


def _modulo(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    return (torch.fmod if attributes.get("fmod") else torch.remainder)(inputs[0], inputs[1])


def _divide(inputs: Sequence[Any], _: Attributes) -> Tensor:
    whole = not (inputs[0].is_floating_point() or inputs[1].is_floating_point())
    return torch.div(inputs[0], inputs[1], rounding_mode="trunc" if whole else None)


def _plain(function: Callable[..., Tensor]) -> Operator:
    return lambda inputs, _: function(*inputs)


_OPERATORS: dict[str, Operator] = {
    "Add": _plain(torch.add),
    "AveragePool": _pool,
    "BatchNormalization": _normalise_batch,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), int(attributes["axis"])),
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Conv": _convolve,
    "ConvTranspose": _convolve_transposed,
    "Div": _divide,
    "Elu": lambda inputs, attributes: F.elu(inputs[0], attributes.get("alpha", 1.0)),
    "Equal": _plain(torch.eq),
    "Exp": _plain(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _plain(torch.floor),
    "Gather": _gather,
    "Gemm": _gemm,
    "GridSample": _sample,
    "Identity": _plain(lambda data: data),
    "InstanceNormalization": _normalise_instance,
    "LeakyRelu": lambda inputs, attributes: F.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "Less": _plain(torch.lt),
    "Log": _plain(torch.log),
    "MatMul": _plain(torch.matmul),
    "Max": _plain(torch.maximum),
    "Min": _plain(torch.minimum),
    "Mod": _modulo,
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Pow": _plain(torch.pow),
    "Range": _plain(lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)),
    "ReduceL2": _reduce(lambda data, axes, keep: torch.linalg.vector_norm(data, 2, axes, keep)),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _plain(lambda data: torch.tensor(data.shape, dtype=torch.int64)),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": lambda inputs, attributes: inputs[0].permute(*attributes["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
