"""Ways to train the generators: one module each, and its line in `METHODS`. A method makes one step at a time."""

from __future__ import annotations

from typing import Final

from training.learning.paper.config import TrainConfig
from training.learning.paper.gan import Gan
from training.learning.paper.icface import IcfaceMethod
from training.learning.paper.unpaired import UnpairedMethod
from training.learning.runtime import Runtime
from training.networks.lightcnn import LightCNN29

METHODS: Final = {"icface": IcfaceMethod, "unpaired": UnpairedMethod}


def build_method(config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None = None) -> Gan:
    """The method that the settings name; see `Gan`."""
    return METHODS[config.method](config, runtime, identity)
