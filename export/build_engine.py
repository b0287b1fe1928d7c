"""Build the fastest engine that a machine can run: `icface-build-engine`, from a checkout without installing it."""

import sys
from pathlib import Path

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from icface.engines.command import main

if __name__ == "__main__":
    sys.exit(main())
