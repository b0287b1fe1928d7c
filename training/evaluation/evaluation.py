"""One evaluation: everything opened, then every model measured and drawn."""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2

from icface.arrays import Frame
from icface.errors import ConfigError
from icface.face.landmarks import MODEL_SHA256
from training.dataset.index import INDEX_FILE
from training.dataset.reading import FaceTracks
from training.evaluation import figures
from training.evaluation.animators import open_animators
from training.evaluation.embedding import Taken
from training.evaluation.judges import Judges, load_judges
from training.evaluation.measuring import ClipViewer
from training.evaluation.model_report import write_numbers, write_text
from training.evaluation.openface_frames import OpenFacePresence, find_tables, save_frames
from training.evaluation.protocol import (
    DRIVER,
    KEPT,
    Answer,
    answer_of,
    evaluate_tasks,
    reference_of,
    still_jitter,
)
from training.evaluation.response import SWEPT, response
from training.evaluation.tasks import Task, cross_tasks, self_tasks, tracks_of

logger = logging.getLogger(__name__)

JUDGES: Final = {
    "cnniqa": "CNNIQA weights trained on LIVE, for table 1",
    "deepiqa": "WaDIQaM-FR weights trained on LIVE, for table 1",
    "lpips": 'state_dict of lpips.LPIPS(net="alex")',
    "identity": "for CSIM: LightCNN-29 v2 weights, or another network that tells persons apart as an .onnx file",
}


class Evaluation:
    """One run of the command.

    Args:
        flags: of training/evaluate.py.
        device: where networks run.
        stack: closes what is opened.

    Raises:
        ICFaceError: in one line, what failed and what to do.
    """

    def __init__(self, flags: argparse.Namespace, device: str, stack: ExitStack) -> None:
        self._flags = flags
        self._tables = find_tables(flags.openface_source)
        self._data = stack.enter_context(closing(FaceTracks(flags.data)))
        self._clips = tracks_of(self._data, flags.split, flags.max_tracks, flags.seed)
        self._tasks = {
            "self": self_tasks(self._data, self._clips, flags.max_frames, flags.source),
            "cross": cross_tasks(self._data, self._clips, flags.max_frames, flags.source),
        }
        self._judges: Judges = load_judges(
            **{name: getattr(flags, name) for name in JUDGES},
            taken=Taken(
                range=flags.identity_range, colour=flags.identity_colour, size_px=flags.identity_size
            ),
            size_px=self._data.size_px,
            device=device,
        )
        self._animators = open_animators(flags.model, self._data.size_px, device=device)
        for animator in self._animators:
            stack.callback(animator.close)
        self._viewer = stack.enter_context(ClipViewer())

    def run(self, folder: Path, command: str) -> None:
        """Measure, draw and write everything into a folder."""
        report = self._facts(command)
        if self._flags.only != "figures":
            report |= self._measure(folder)
        if self._flags.only != "tables":
            report["figures"] += self._draw(folder)
        if "response" in report:
            plot = figures.response_plot(report["response"])
            if plot is not None:
                report["figures"].insert(0, _write_picture(folder, "response.png", plot))
        write_numbers(folder, report)
        write_text(folder, report)

    def _facts(self, command: str) -> dict[str, Any]:
        flags, data = self._flags, self._data
        return {
            "command": command,
            "data": {
                "folder": str(flags.data),
                "sha256": hashlib.sha256((flags.data / INDEX_FILE).read_bytes()).hexdigest(),
                "split": flags.split,
                "identities": len({track.identity for track in self._clips}),
                "tracks": len(self._clips),
                "size_px": data.size_px,
                "attribute_source": data.index.attribute_source,
            },
            "settings": {
                name: getattr(flags, name)
                for name in ("seed", "source", "max_frames", "max_tracks", "sweep_sources", "only")
            }
            | {"landmarks": MODEL_SHA256},
            "models": {animator.name: animator.facts for animator in self._animators},
            "judges": self._judges.files,
            "figures": [],
            "notes": self._notes(),
        }

    def _measure(self, folder: Path) -> dict[str, Any]:
        result: dict[str, Any] = {"self": {}, "cross": {}, "response": {}, "jitter": {}}
        crops = self._sweep_crops()
        for animator in self._animators:
            for kind in ("self", "cross"):
                logger.info("%s: %s-reenactment, %d clips", animator.name, kind, len(self._tasks[kind]))
                self._evaluate(result, kind, animator.name, partial(answer_of, animator, self._data), folder)
            logger.info("%s: sweeps of %d sources", animator.name, len(crops))
            result["response"][animator.name] = response(animator, crops, self._viewer, SWEPT)
            result["jitter"][animator.name] = still_jitter(animator, crops, self._viewer, self._flags.seed)
        for name in (DRIVER, KEPT):
            logger.info("reference: %s", name)
            self._evaluate(result, "self", name, partial(reference_of, name, self._data), None)
        return result

    def _evaluate(
        self,
        result: dict[str, Any],
        kind: str,
        name: str,
        answer: Callable[[Task], Answer],
        folder: Path | None,
    ) -> None:
        tasks = self._tasks[kind]
        if not tasks:
            return
        numbers = {task.name: number for number, task in enumerate(tasks)}

        def keep(made: Answer) -> None:
            if folder is not None and self._flags.save_frames:
                save_frames(folder / "frames", made, name, kind, numbers[made.task.name])

        result[kind][name] = evaluate_tasks(
            tasks,
            answer,
            same_person=kind == "self",
            viewer=self._viewer,
            judges=self._judges,
            presence_of=OpenFacePresence(self._data, self._tables, name, kind, numbers),
            data=self._data,
            keep=keep,
        )

    def _sweep_crops(self) -> list[Frame]:
        """One source from each of the first people, then their further clips."""
        return [self._data.frame(task.source) for task in self._tasks["self"][: self._flags.sweep_sources]]

    def _draw(self, folder: Path) -> list[str]:
        logger.info("figures")
        models = self._animators
        scenes = figures.scenes_of(self._data, self._tasks["self"])
        crossed = figures.scenes_of(self._data, self._tasks["cross"])
        drawn = {
            "reenactment_self": figures.reenactment(models, scenes),
            "neutral": figures.neutral_row(models, scenes),
            "expression_only": figures.expression_only(models, scenes),
            "mixed_pose_expression": figures.mixed_pose_expression(models, scenes),
            "mixed_mouth_eyes": figures.mixed_mouth_eyes(models, scenes),
        }
        if crossed:
            drawn["reenactment_cross"] = figures.reenactment(models, crossed)
        for animator in models:
            drawn[f"multi_view.{animator.name}"] = figures.multi_view(animator, scenes[:3])
            drawn[f"au_sweep.{animator.name}"] = figures.au_sweep(animator, scenes[0])
        return [_write_picture(folder, f"{name}.png", picture) for name, picture in drawn.items()]

    def _notes(self) -> list[str]:
        data, judges = self._data, self._judges.files
        notes = [
            f"“{DRIVER}” shows what the measuring makes of a perfect output; “{KEPT}” shows what not moving reaches.",
            "Attributes are measured in small crops enlarged to 256 pixels, frame by frame; those that were asked for "
            f"come from the data set ({data.index.attribute_source}), measured in whole frames.",
            "FID is not measured: it needs thousands of pictures and an Inception network. Gaze is not measured: the "
            "20 attributes hold none.",
        ]
        if self._flags.split == "train":
            notes.insert(0, "These are people that models may have been trained on.")
        if not self._tasks["cross"]:
            notes.append("Cross-reenactment is not measured: the split has only one identity.")
        for name, told in JUDGES.items():
            if name not in judges:
                notes.append(f"{_MEASURES[name]}: not measured; give --{name} ({told}).")
        known = any((data.values_of(task.driving).presence >= 0).any() for task in self._tasks["self"])
        if not known and not self._tables:
            notes.append("Action Unit presence is a surrogate on both sides: no OpenFace data.")
        elif not self._tables:
            notes.append(
                "Action Unit presence is OpenFace's in drivers and a surrogate in outputs; run OpenFace on what "
                "--save-frames writes and give --openface-source."
            )
        return notes


_MEASURES: Final = {"cnniqa": "CNNIQA", "deepiqa": "DeepIQA-FR", "lpips": "LPIPS", "identity": "CSIM"}


def _write_picture(folder: Path, name: str, picture: Frame) -> str:
    if not cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise ConfigError(f"cannot write {folder / name}; is the disk full?")
    return name
