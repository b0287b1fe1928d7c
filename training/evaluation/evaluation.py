"""One evaluation: everything opened, then every model measured and drawn."""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2

from icface.arrays import Frame
from icface.errors import ConfigError
from icface.face.landmarks import MODEL_SHA256
from training.dataset.index import INDEX_FILE, Track
from training.dataset.reading import FaceTracks
from training.evaluation import figures, protocol
from training.evaluation.animators import Animator, open_animators
from training.evaluation.cases import Frames, write_cases
from training.evaluation.control_figures import figure_1, figure_4b
from training.evaluation.embedding import Taken
from training.evaluation.judges import load_judges
from training.evaluation.model_report import write_report
from training.evaluation.openface_frames import check_tables, find_tables, openface_presence, save_frames
from training.evaluation.response import response
from training.evaluation.tasks import Task, cross_tasks, self_tasks, tracks_of

logger = logging.getLogger(__name__)

JUDGES: Final = {
    "cnniqa": ("CNNIQA", "CNNIQA weights trained on LIVE, for table 1"),
    "deepiqa": ("DeepIQA-FR", "WaDIQaM-FR weights trained on LIVE, for table 1"),
    "lpips": ("LPIPS", 'state_dict of lpips.LPIPS(net="alex")'),
    "identity": (
        "CSIM",
        "for CSIM: LightCNN-29 v2 weights, or another network that tells persons apart as an .onnx file",
    ),
}
"""Flag -> what is measured with its file, and what the file is."""


def tasks_of(data: FaceTracks, clips: Sequence[Track], flags: argparse.Namespace) -> dict[str, list[Task]]:
    """The tasks by kind, as the flags say."""
    how = (flags.max_frames, flags.source_frame, flags.seed)
    return {"self": self_tasks(data, clips, *how), "cross": cross_tasks(data, clips, *how)}


def list_cases(flags: argparse.Namespace) -> None:
    """Write the cases that `--frames` will look for.

    Raises:
        ConfigError: there are none, or the table cannot be called so.
    """
    with closing(FaceTracks(flags.data)) as data:
        clips = tracks_of(data, flags.split, flags.max_tracks, flags.seed)
        count = write_cases(flags.list_cases, data, tasks_of(data, clips, flags))
    logger.info("%s: %d cases; the pictures are beside it", flags.list_cases, count)


class Evaluation:
    """One run of training/evaluate.py with its flags; the stack closes what is opened."""

    def __init__(self, flags: argparse.Namespace, device: str, stack: ExitStack) -> None:
        self._flags = flags
        self._tables = find_tables(flags.openface_source)
        self._data = stack.enter_context(closing(FaceTracks(flags.data)))
        self._clips = tracks_of(self._data, flags.split, flags.max_tracks, flags.seed)
        self._tasks = tasks_of(self._data, self._clips, flags)
        taken = Taken(range=flags.identity_range, colour=flags.identity_colour, size_px=flags.identity_size)
        self._judges = load_judges(
            **{name: getattr(flags, name) for name in JUDGES},
            taken=taken,
            size_px=self._data.size_px,
            device=device,
        )
        self._others = [Frames(given, self._data, self._tasks) for given in flags.frames]
        self._animators = open_animators(flags.model, self._data.size_px, device=device)
        for animator in self._animators:
            stack.callback(animator.close)
        self._compared: list[Animator | Frames] = [*self._animators, *self._others]
        names = [compared.name for compared in self._compared]
        twice = {name for name in names if names.count(name) > 1} | {"driver"} & set(names)
        if twice:
            raise ConfigError(f"--frames {min(twice)}=…: the name is taken; choose another one")
        check_tables(self._tables, names, self._tasks)
        self._viewer = stack.enter_context(protocol.ClipViewer())

    def run(self, folder: Path, command: str) -> None:
        """Measure, draw and write everything into a folder."""
        report = self._facts(command)
        if self._flags.only != "figures":
            report |= self._measure(folder)
        if self._flags.only != "tables" and self._animators:
            report["figures"] += self._draw(folder)
        plot = figures.response_plot(report.get("response", {}))
        if plot is not None:
            report["figures"].insert(0, _write_picture(folder, "response.png", plot))
        write_report(folder, report)

    def _facts(self, command: str) -> dict[str, Any]:
        flags, data = self._flags, self._data
        settings = ("seed", "source_frame", "max_frames", "max_tracks", "sweep_sources", "only")
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
                "attribute_scale": data.index.attribute_scale,
            },
            "settings": {name: getattr(flags, name) for name in settings} | {"landmarks": MODEL_SHA256},
            "models": {compared.name: compared.facts for compared in self._compared},
            "judges": self._judges.files,
            "figures": [],
            "notes": self._notes(),
        }

    def _measure(self, folder: Path) -> dict[str, Any]:
        flags, viewer, data = self._flags, self._viewer, self._data
        result: dict[str, Any] = {"self": {}, "cross": {}, "response": {}, "jitter": {}}
        # One source from each of the first people, then their further clips.
        crops = [data.frame(task.source) for task in self._tasks["self"][: flags.sweep_sources]]
        models = {animator.name: partial(protocol.answer_of, animator, data) for animator in self._animators}
        references = {n: partial(protocol.reference_of, n, data) for n in (protocol.DRIVER, protocol.KEPT)}
        for kind, tasks in self._tasks.items():
            answers = models | {other.name: partial(other.answer, kind) for other in self._others}
            for name, answer in (answers | (references if kind == "self" else {})).items():
                if not tasks:
                    continue
                logger.info("%s: %s-reenactment, %d clips", name, kind, len(tasks))
                kept = flags.save_frames and name in answers
                result[kind][name] = protocol.evaluate_tasks(
                    tasks,
                    answer,
                    same_person=kind == "self",
                    viewer=viewer,
                    judges=self._judges,
                    presence_of=partial(openface_presence, data, self._tables, name, kind),
                    data=data,
                    keep=partial(save_frames, folder / "frames", name, kind) if kept else None,
                )
        for animator in self._animators:
            logger.info("%s: sweeps of %d sources", animator.name, len(crops))
            result["response"][animator.name] = response(animator, crops, viewer)
            result["jitter"][animator.name] = protocol.still_jitter(animator, crops, viewer, flags.seed)
        return result

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
            drawn[f"figure_1.{animator.name}"] = figure_1(animator, self._data, self._tasks["self"])
            drawn[f"figure_4b.{animator.name}"] = figure_4b(animator, scenes)
            drawn[f"multi_view.{animator.name}"] = figures.multi_view(animator, scenes[:3])
            drawn[f"au_sweep.{animator.name}"] = figures.au_sweep(animator, scenes[0])
        return [_write_picture(folder, f"{name}.png", picture) for name, picture in drawn.items()]

    def _notes(self) -> list[str]:
        data = self._data
        notes = [
            f"“{protocol.DRIVER}” shows what the measuring makes of a perfect output; “{protocol.KEPT}” shows what not "
            "moving reaches.",
            "Attributes are measured in small crops enlarged to 256 pixels, frame by frame; those that were asked for "
            f"come from the data set ({data.index.attribute_source}), measured in whole frames.",
            "FID is not measured: it needs thousands of pictures and an Inception network. Gaze is not measured: the "
            "20 attributes hold none.",
        ]
        if self._flags.split == "train":
            notes.insert(0, "These are people that models may have been trained on.")
        if self._flags.split == "validation":
            notes.insert(0, "On these people best.safetensors was chosen.")
        if "validation" not in data.index.splits:
            notes.insert(
                0,
                "The data were prepared by an earlier version, without people for validation. A best.safetensors that "
                "was trained then was chosen on the people of the split test; prepare the data again.",
            )
            logger.warning("%s", notes[0])
        if not self._tasks["cross"]:
            notes.append("Cross-reenactment is not measured: the split has only one identity.")
        for name, (measure, told) in JUDGES.items():
            if name not in self._judges.files:
                notes.append(f"{measure}: not measured; give --{name} ({told}).")
        if not self._tables:
            known = any((data.values_of(task.driving).presence >= 0).any() for task in self._tasks["self"])
            notes.append(
                "Action Unit presence is OpenFace's in drivers and a surrogate in outputs; run OpenFace on what "
                "--save-frames writes and give --openface-source."
                if known
                else "Action Unit presence is a surrogate on both sides: no OpenFace data."
            )
        return notes


def _write_picture(folder: Path, name: str, picture: Frame) -> str:
    if not cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise ConfigError(f"cannot write {folder / name}; is the disk full?")
    return name
