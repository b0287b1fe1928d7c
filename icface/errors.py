"""The exceptions a user may meet. Each carries one line: what failed, the values, what to do next.

ICFaceError
├── ConfigError   a flag or setting that cannot be used
├── SourceError   the photo (unreadable, no face, too large)
├── BundleError   a model on disk (missing, tampered, from another version)
├── EngineError   an inference backend (not installed, wrong results)
│   ├── NotBuiltError   an engine that is to be built first
│   └── RefusedError    an engine that was built and gave frames too far off
└── DeviceError   a camera or sink (missing, busy, unplugged)
"""


class ICFaceError(Exception):
    """Base of all errors that end in one `error:` line; `exit_code` is what the command returns."""

    exit_code = 1


class ConfigError(ICFaceError):
    """A flag, setting or input table that cannot be used as given."""

    exit_code = 2


class SourceError(ICFaceError):
    """A photo that cannot become a source."""


class BundleError(ICFaceError):
    """A model bundle that is missing, damaged, tampered with or of an unknown version."""


class EngineError(ICFaceError):
    """An inference engine that is not installed, did not load or gave wrong results."""


class NotBuiltError(EngineError):
    """An engine that runs only after it was built, and was not yet."""


class RefusedError(EngineError):
    """An engine whose frames, when it was built, were too far from those of float32."""


class DeviceError(ICFaceError):
    """A camera or an output device that is missing, busy, or stopped working."""
