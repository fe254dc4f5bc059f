"""One operator of OpenVINO or of the ONNX reference, run alone on arrays: what ours are compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from openvino import opset1


def by_openvino(operator: Callable, *arrays: np.ndarray, **settings: Any) -> torch.Tensor:
    """Return the first result of `operator` (of one of OpenVINO's opsets), computed in float32."""
    inputs = [opset1.parameter(array.shape, array.dtype) for array in arrays]
    graph = openvino.Model([operator(*inputs, **settings)], inputs, "one operator")
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(compiled(arrays)[0].copy())


def by_onnx(operator: str, *arrays: np.ndarray, **settings: Any) -> torch.Tensor:
    """Return the first result of the ONNX operator of that name, computed by the reference implementation."""
    names = [f"x{i}" for i in range(len(arrays))]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in zip(names, arrays, strict=True)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(operator, names, ["y"], **settings)], "g", inputs, [output])
    found = ReferenceEvaluator(helper.make_model(graph)).run(None, dict(zip(names, arrays, strict=True)))[0]
    return torch.from_numpy(np.array(found))
