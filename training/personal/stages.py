"""The stages from a video to a generator: film, gather, fit, pairs and tune, each finished once, and pack, each time."""

from __future__ import annotations

import argparse
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from safetensors.numpy import save

from icface.arrays import Tensors
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.consent import Consent
from icface.errors import ConfigError, ICFaceError, SourceError
from icface.files import read_file, write_file
from icface.tensors import read_tensors
from training.personal.agreeing import ask_consent
from training.personal.bar import Bar, Progress
from training.personal.checking import check_footage
from training.personal.coverage import Coverage, write_picture
from training.personal.cutting import SOURCE
from training.personal.footage import Footage
from training.personal.frames import ChosenFrame, load_frames
from training.personal.gather import FRAMES, gather, gather_photo, source_photo
from training.personal.job import Job, stamp_of
from training.personal.recording import record

logger = logging.getLogger(__name__)

FILMED: Final = "filmed.mp4"
PERSON: Final = "person.safetensors"
PAIRS: Final = "pairs"
CORRECTOR: Final = "corrector.safetensors"
MINUTES: Final = 12.0
"""Of tuning. All stages together then take less than twenty minutes on two cores."""
GPU_MINUTES: Final = 1.5
LARGEST_BYTES: Final = 12_000_000
_FRAME_S, _TUNE_S = 0.03, 90.0
"""About how long a frame takes to be looked at, and how long the tuning takes, on two cores."""
_PERSON_BYTES: Final = 20_000_000


def _usual_minutes() -> float:
    import torch

    return GPU_MINUTES if torch.cuda.is_available() else MINUTES


def work_folder(output: Path) -> Path:
    """Where the work on an output lies, beside it."""
    return output.with_name(f"{output.name}.work")


def coverage_picture(output: Path) -> Path:
    """The picture of what was seen, beside the output."""
    return output.with_suffix(".coverage.png")


class Personalisation:
    """One job, from the flags to the bundle.

    Args:
        flags: of `training/personalise.py`, checked.
        stop: set when the user wants the end.
    """

    def __init__(self, flags: argparse.Namespace, stop: threading.Event) -> None:
        self._flags = flags
        self._stop = stop
        self._output: Path = flags.output
        self._work = work_folder(flags.output)
        self._footage: Footage | None = None
        if flags.videos:
            self._footage = Footage.open(flags.videos)

    def run(self) -> None:
        """Do what is not done yet, and delete what was needed for it."""
        flags = self._flags
        files = [*flags.videos, *([flags.source] if flags.source else [])]
        for path in files:
            if not path.is_file():
                raise ConfigError(f"{path} is not there; check the name")
        job = Job.open(self._work, stamp_of(files, flags.record, flags.camera))
        if not job.is_empty:
            logger.info("going on with what is done in %s", self._work)
        try:
            self._work_on(job)
        except KeyboardInterrupt:
            raise ICFaceError(f"stopped; {self._left(job)}the same command goes on") from None
        except (ConfigError, SourceError):
            if not job.has("gather"):  # what was given or filmed cannot be used, and shall not be taken again
                job.delete()
            raise
        except BaseException:
            if left := self._left(job):
                logger.info("%sthe same command goes on", left)
            raise
        self._end(job)

    def _left(self, job: Job) -> str:
        """Where what is done is kept; nothing is left of a job that has done nothing."""
        if job.is_empty:
            job.delete()
            return ""
        return f"what is done is kept in {self._work}: "

    def _end(self, job: Job) -> None:
        size = sum(path.stat().st_size for path in self._output.rglob("*") if path.is_file())
        logger.info("%s is done (%.1f MB): icface-live --model %s", self._output, size / 1e6, self._output)
        if size > LARGEST_BYTES:
            logger.warning(
                "it is larger than %.0f MB; a smaller --source makes it smaller", LARGEST_BYTES / 1e6
            )
        if self._flags.keep:
            logger.info("the frames are kept in %s", self._work)
        else:
            job.delete()

    def _work_on(self, job: Job) -> None:
        flags = self._flags
        if not job.has("gather"):
            if flags.source is not None:
                source_photo(flags.source, self._work)
            if self._footage is not None:
                check_footage(self._footage)
        if job.consent is None or flags.person not in (None, job.consent.who):
            job.consent = ask_consent(flags.consent, flags.person)
        if flags.record is not None:
            self._film(job)
        minutes = flags.minutes or _usual_minutes()
        if job.has("tune") and job.kept.minutes != minutes:
            self._forget(job, "tune")
        expected_s = {
            "gather": 2 + (self._footage.count * _FRAME_S if self._footage is not None else 3),
            "fit": 5,
            "pairs": 30,
            "tune": min(60 * minutes, _TUNE_S),
            "pack": 5,
        }
        with Bar(expected_s, self._stop) as bar:

            def stage(name: str, words: str, work: Callable[[Progress], None]) -> None:
                progress = bar.begin(name, words)
                if not job.has(name):
                    work(progress)
                    job.finish(name)
                progress(1.0)

            stage("gather", "choosing frames", self._gather)
            try:
                frames = load_frames(self._work / FRAMES)
            except ConfigError:  # damaged since then, or of another version
                logger.warning("the frames in %s cannot be read; they are chosen again", self._work / FRAMES)
                self._forget(job, "gather", "fit", "pairs", "tune")
                stage("gather", "choosing frames", self._gather)
                frames = load_frames(self._work / FRAMES)
            stage("fit", "fitting the face", lambda progress: self._fit(frames))
            stage("pairs", "making pairs", lambda progress: self._make_pairs(frames, progress))
            stage("tune", "tuning the network", lambda progress: self._tune(job, minutes, progress))
            # Each time: the bundle may be gone, or the consent another one.
            progress = bar.begin("pack", "packing")
            self._pack(job.consent)
            progress(1.0)

    def _forget(self, job: Job, *stages: str) -> None:
        """Let stages be done again, the tuning from its beginning."""
        job.forget(*stages)
        # Where `tune` keeps its run.
        shutil.rmtree((self._work / CORRECTOR).with_suffix(".run"), ignore_errors=True)

    def _film(self, job: Job) -> None:
        path = self._work / FILMED
        if not job.has("film"):
            record(path, self._flags.record, self._flags.camera, self._stop)
            job.finish("film")
        self._footage = Footage.open([path])
        if not job.has("gather"):
            check_footage(self._footage)

    def _gather(self, progress: Progress) -> None:
        flags = self._flags
        if self._footage is None:
            gather_photo(flags.source, self._work)
            return
        if self._footage.is_sampled:
            logger.info(
                "%s plays for %.0f min; pieces of it, spread evenly, are looked at",
                self._footage.name,
                self._footage.length_s / 60,
            )
        # With a photo the source was written when that was checked.
        frames = gather(self._footage, self._work, progress, choose_source=flags.source is None)
        self._tell_coverage(frames)

    def _tell_coverage(self, frames: list[ChosenFrame]) -> None:
        picture = coverage_picture(self._output)
        write_picture(picture, frames)
        held = sum(frame.held for frame in frames)
        logger.info(
            "%d frames are learned from, %d judge; what they show: %s", len(frames) - held, held, picture
        )
        for warning in Coverage.of(frames).warnings():
            logger.info("%s", warning)

    def _fit(self, frames: list[ChosenFrame]) -> None:
        from training.personal.fit import fit_person

        write_file(self._work / PERSON, save(dict(fit_person(frames))))

    def _person(self) -> Tensors | None:
        return read_tensors(read_file(self._work / PERSON, _PERSON_BYTES)) or None

    def _make_pairs(self, frames: list[ChosenFrame], progress: Progress) -> None:
        from training.personal.pairs import make_pairs

        make_pairs(frames, self._person(), self._work / PAIRS, progress)

    def _tune(self, job: Job, minutes: float, progress: Progress) -> None:
        from training.personal.tune import tune

        logger.info("%s", tune(self._work / PAIRS, self._work / CORRECTOR, minutes, progress))
        job.kept.minutes = minutes

    def _pack(self, consent: Consent | None) -> None:
        from export.pack_edge import pack
        from icface.networks.checkpoint import load_corrector
        from training.personal.start import neutraliser_of

        network, info = load_corrector(self._work / CORRECTOR)
        pack(
            self._output,
            network,
            neutraliser_of(),
            licence=info.licence,
            provenance=info.provenance,
            person=self._person(),
            source=self._work / SOURCE,
            consent=msgspec.to_builtins(consent),
            like=Bundle.load(DEFAULT_BUNDLE),
        )
