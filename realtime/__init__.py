"""The live product: cameras, the loop, sinks and the `icface-live` command."""

import importlib.metadata


def version() -> str:
    """Of the installed package; `unknown` in a bare checkout."""
    try:
        return importlib.metadata.version("icface-live")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
