"""Pack the shipped generator: `python export/pack_edge.py [--weights RUN/best.safetensors] [--out FOLDER]`.

It writes the graphs, golden tensors made from noise, and the manifest with all hashes. The animate graph is the warp with
the trained corrector at its end. `--geometry-alone` packs a bundle without a network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.correction_graph import (
    CORRECTION_SHAPES,
    PATCH_SHAPE,
    HalfCorrector,
    build_corrected_graph,
    build_correction_graph,
)
from export.edge_golden import golden_calmed, golden_correction, golden_inputs, reference_frame
from export.edge_graph import SHAPES, build_edge_graph
from export.writing import spec, with_weights, write_bundle
from icface.arrays import Tensors
from icface.attributes import GAZE_NAMES, SHAPE_NAMES
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.geometry.contract import CALMED
from icface.networks.checkpoint import load_corrector
from icface.networks.patch import PatchCorrector

WEIGHTS: Final = Path(__file__).resolve().parents[1] / "training/weights/edge_face.safetensors"
"""The corrector that ships, as training/train.py wrote it."""
NEUTRALISER: Final = WEIGHTS.with_name("edge_neutral.safetensors")
"""The neutraliser that ships, likewise."""


def pack(
    out: Path,
    network: PatchCorrector | None = None,
    neutraliser: PatchCorrector | None = None,
    *,
    licence: str = "",
    provenance: str = "",
    name: str = "",
    person: Tensors | None = None,
    source: Path | None = None,
    consent: Mapping[str, Any] | None = None,
    like: Bundle | None = None,
) -> Bundle:
    """Write the bundle's folder.

    Args:
        network: corrects the frames; None: geometry alone makes them.
        neutraliser: calms a photo, once; None: `network` does what it can. It counts only beside one.
        licence: of the network.
        provenance: what the network was trained on.
        name: shown to the user; empty: what the generator is.
        person: what is known of the one person whom the bundle is for (docs/bundle.md); None or empty: nothing.
        source: PNG file with a photo of that person, which the bundle shows where no other is named.
        consent: `who`, `when` and `agreed`, as the manifest has them.
        like: a bundle whose corrector has this one's shape, and whose neutraliser is this one. Its graphs are taken, with
            the weights of `network`, which is quick; None: all graphs are made.

    Raises:
        ConfigError: `like` has another network, the folder cannot be written, the photo cannot be read, the network
            hardly changes the golden frame, or the bundle would be refused for what it says of the person.
    """
    personal, personal_files = _personal(person, source, consent)
    inputs = golden_inputs()
    golden: dict[str, NDArray[Any]] = {**inputs, "frame": reference_frame(inputs)}
    specs = {name: spec(name, str(inputs[name].dtype), *shape) for name, shape in SHAPES.items()}
    cache = [specs.pop(name) for name in ("skin", "plate", "inner")]
    motion = list(specs.values())
    regions = spec("regions", "int32", "count", 4)
    frame = [spec("frame", "uint8", "height", "width", 3)]
    files: dict[str, bytes] = {}
    beside: dict[str, Any] = {}
    half: dict[str, str] = {}
    if network is None:
        files["animate.onnx"] = build_edge_graph()
    else:
        told = {name: spec(name, "float32", *shape) for name, shape in CORRECTION_SHAPES.items()}
        motion += told.values()
        patch, correction = spec("patch", "uint8", *PATCH_SHAPE), spec("correction", "float32", *PATCH_SHAPE)
        half = {"graph_fp16": "animate.fp16.onnx"}
        beside["correct"] = {
            "graph": "correct.onnx",
            "inputs": [patch, told["conditions"], told["gates"]],
            "outputs": [correction],
        }
        files |= _graphs(network, like)
        golden = golden_correction(golden, network)
    if network is not None and neutraliser is not None:
        calmed = spec(CALMED, "float32", *PATCH_SHAPE)
        beside["neutralise"] = {**beside["correct"], "graph": "neutralise.onnx", "outputs": [calmed]}
        made = None if like is None else like.file("neutralise.onnx").read_bytes()
        files["neutralise.onnx"] = made or build_correction_graph(neutraliser, CALMED)
        golden |= golden_calmed(golden, neutraliser)
    geometry = "geometry from ICT-FaceKit (MIT) and MediaPipe's canonical face (Apache-2.0)"
    return write_bundle(
        out,
        {
            "family": "edge",
            "name": name or ("edge geometry" if network is None else "edge"),
            "size_px": None,
            "attribute_scale": "full-shape",
            "extensions": (*GAZE_NAMES, *SHAPE_NAMES),
            "alignment": "face box x 1.75, raised by 6 %, kept inside the photo",
            "motion": "icface.geometry",
            **{"neutralise": None, **beside},
            **personal,
            "variants": {
                "graph": {
                    "graph": "animate.onnx",
                    **half,
                    "cache": cache,
                    "motion": motion,
                    "outputs": frame,
                },
                "host": {"graph": None, "cache": cache, "motion": [*motion, regions], "outputs": frame},
            },
            "golden": "golden.safetensors",
            "licence": "MIT" if licence in ("", "MIT") else f"geometry: MIT; network: {licence}",
            "provenance": f"No training data: {geometry}"
            if network is None
            else f"Geometry: {geometry.removeprefix('geometry ')}. Network: {provenance}",
        },
        {
            **files,
            **personal_files,
            "golden.safetensors": save({key: np.ascontiguousarray(value) for key, value in golden.items()}),
        },
    )


def _graphs(network: PatchCorrector, like: Bundle | None) -> dict[str, bytes]:
    half = HalfCorrector(network)
    if like is None:
        return {
            "animate.onnx": build_corrected_graph(network),
            "animate.fp16.onnx": build_corrected_graph(half),
            "correct.onnx": build_correction_graph(network),
        }
    holds = {"animate.onnx": network, "animate.fp16.onnx": half, "correct.onnx": network}
    return {name: with_weights(like.file(name), each) for name, each in holds.items()}


def _personal(
    person: Tensors | None, source: Path | None, consent: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest's entries about one person, and their files; neither where nothing is known."""
    entries: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    if person:
        entries["person"] = "person.safetensors"
        files["person.safetensors"] = save({key: np.ascontiguousarray(each) for key, each in person.items()})
    if source is not None:
        entries["source"] = "source.png"
        try:
            files["source.png"] = source.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {source}: {error.strerror or error}") from error
    if consent is not None:
        entries["consent"] = dict(consent)
    return entries, files


def pack_trained(out: Path, weights: Path = WEIGHTS, neutraliser: Path | None = NEUTRALISER) -> Bundle:
    """Write the bundle of a trained corrector and neutraliser; ConfigError where these or the folder do not do."""
    network, info = load_corrector(weights)
    calms = None if neutraliser is None else load_corrector(neutraliser)[0]
    return pack(out, network, calms, licence=info.licence, provenance=info.provenance)


def _run(flags: argparse.Namespace) -> None:
    if flags.geometry_alone:
        pack(flags.out)
    else:
        pack_trained(flags.out, flags.weights, None if flags.no_neutraliser else flags.neutraliser)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = Parser(description="Pack the shipped generator.")
    parser.add_argument(
        "--weights",
        type=Path,
        default=WEIGHTS,
        metavar="FILE",
        help="of a trained corrector (default: what ships)",
    )
    parser.add_argument(
        "--neutraliser",
        type=Path,
        default=NEUTRALISER,
        metavar="FILE",
        help="of a trained neutraliser (default: what ships)",
    )
    parser.add_argument("--no-neutraliser", action="store_true", help="pack the corrector alone")
    parser.add_argument("--geometry-alone", action="store_true", help="pack no network")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_BUNDLE, metavar="FOLDER", help="the bundle (default: what ships)"
    )
    return run_command(parser, _run, argv)


if __name__ == "__main__":
    sys.exit(main())
