"""TensorRT and TensorRT-RTX as libraries: loading them, what they log, and the GPUs that they build for."""

from __future__ import annotations

import functools
import importlib
import logging
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from icface.bundle import Bundle
from icface.engines.base import ANY, Target
from icface.engines.nvidia import cuda
from icface.errors import EngineError

logger = logging.getLogger(__name__)

PRECISIONS: Final = ("fp16", "fp32", "int8")

# The bindings raise these: some give None where an object was wanted, values do not fit, or the library itself fails.
BINDING_ERRORS: Final = (RuntimeError, TypeError, ValueError, AttributeError)

_SOURCE_PLACE: Final = re.compile(r"\s*\(?In \w+ at /\S+?:\d+|^[\w:]+: Error Code \d+: ")
_ASSERTION: Final = re.compile(r'^[^"]*&& "(.*)"$')


@dataclass(frozen=True, kw_only=True)
class Library:
    """One of the two."""

    name: str
    """`tensorrt` or `tensorrt_rtx`: its Python module, and our backend."""
    title: str
    """Its name for the user."""
    install: str
    """How the user gets it."""
    rtx: bool
    """TensorRT-RTX builds for GPUs elsewhere. It takes no timings of kernels."""

    def load(self) -> Any:
        """Import the library; EngineError where it is not installed."""
        try:
            return importlib.import_module(self.name)
        # The wheels open CUDA's libraries by themselves.
        except (ImportError, OSError, RuntimeError) as error:
            raise EngineError(f"{self.title} is not installed ({error}); {self.install}") from error

    @property
    def description(self) -> str:
        """Title and version."""
        return f"{self.title} {self.load().__version__}"

    def target(self, capabilities: Sequence[str] = ()) -> Target:
        """This machine's GPU; or GPUs elsewhere by their compute capabilities, as `8.6`."""
        if not capabilities:
            description, (name, capability) = self.description, cuda.device()
            return Target(library=description, device=name, capability=capability)
        if not self.rtx:
            raise EngineError(
                f"{self.title} builds for this machine's GPU alone; leave out --sm, or use --backend tensorrt-rtx"
            )
        known = self.elsewhere()
        for capability in set(capabilities) - set(known):
            choice = ", ".join(known)
            raise EngineError(f"{self.description} does not build for SM {capability}; choose from {choice}")
        listed = "+".join(capability for capability in known if capability in capabilities)
        return Target(library=self.description, device=ANY, capability=listed)

    def elsewhere(self) -> tuple[str, ...]:
        """The compute capabilities that it builds for without such a GPU, as `8.6`, lowest first."""
        names = re.findall(r"\bSM\d{2,3}\b", " ".join(vars(self.load().ComputeCapability)))
        ordered = sorted(set(names), key=lambda name: int(name[2:]))
        return tuple(f"{name[2:-1]}.{name[-1]}" for name in ordered)

    def usual(self, bundle: Bundle, target: Target) -> str:
        """fp16: twice as fast as fp32 or more, and close enough to be accepted.

        GeForce GTX 16 cards (TU116, TU117) are the exception: their half precision units have given NaN, seen as black
        frames, in one generator after another. RTX 20 cards have the same capability, and work.
        """
        return "fp32" if target.capability == "7.5" and "GTX 16" in target.device else "fp16"

    def unasked(self, bundle: Bundle) -> str:
        """The usual precision; "" without a GPU, or where host code alone makes the frames."""
        if bundle.host is not None and bundle.correct is None:
            return ""
        try:
            if find_spec(self.name) is None:  # found, not loaded: loading takes a second
                return ""
            name, capability = cuda.device()
        except (ImportError, EngineError) as error:
            logger.debug("%s: %s", self.name, error)
            return ""
        return self.usual(bundle, Target(library=self.title, device=name, capability=capability))


@functools.cache
def log_of(trt: Any) -> Any:
    """The object that passes the library's messages on to `logging`. The library keeps it, so there is one a process.

    `errors` keeps the last errors: they explain why a call gave None. `stopped` keeps an exception that came inside the
    library, because exceptions must not pass through it.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=4)
            self.stopped: BaseException | None = None

        def log(self, severity: Any, message: str) -> None:
            levels = trt.ILogger.Severity
            try:
                if severity in (levels.INTERNAL_ERROR, levels.ERROR):
                    self.errors.append(one_line(message))
                    logger.info("%s: %s", trt.__name__, self.errors[-1])
                elif severity != levels.VERBOSE:
                    logger.debug("%s: %s", trt.__name__, message)
            except BaseException as error:
                self.stopped = error

        def raise_stopped(self) -> None:
            """Raise what was kept in `stopped`, now that the library has returned."""
            stopped, self.stopped = self.stopped, None
            if stopped is not None:
                raise stopped

        def reason(self) -> str:
            """The errors since they were last asked for."""
            errors = list(dict.fromkeys(self.errors))
            self.errors.clear()
            return "; ".join(errors[:2]) or "it gives no reason"

    return Log()


def one_line(text: str) -> str:
    """A message of the library in one line, without places in its sources, of at most 300 characters."""
    text = " ".join(_SOURCE_PLACE.sub("", text).split()).rstrip(".")
    text = _ASSERTION.sub(r"\1", text)
    if text.count(")") > text.count("("):
        text = text.removesuffix(")")
    return text if len(text) <= 300 else f"{text[:299]}…"
