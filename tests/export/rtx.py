"""Builds graphs with TensorRT-RTX on a machine without a GPU."""

from __future__ import annotations

import pytest

CAPABILITIES = ("8.6", "8.9")
"""GeForce RTX 30 and 40."""


def engine_bytes(graph: bytes, capability: str, *, side_px: int = 64) -> int:
    """Size of the engine of a graph. Its varying sizes are 16 to 2048, tuned for `side_px`.

    The test is skipped where TensorRT-RTX is missing. Where it refuses the graph, the test fails with what it says.
    """
    trt = pytest.importorskip("tensorrt_rtx", reason="the extra [tensorrt] is not installed")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(graph), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        if -1 in tuple(tensor.shape):
            sizes = ([side if size < 0 else size for size in tensor.shape] for side in (16, side_px, 2048))
            profile.set_shape(tensor.name, *sizes)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, "SM" + capability.replace(".", "")), 0)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None, f"TensorRT-RTX builds nothing for SM {capability}"
    return int(engine.nbytes)
