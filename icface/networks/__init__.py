"""The networks in torch. Training trains them, export turns them into graphs, and the live path never imports them."""

from icface.networks.checkpoint import (
    CorrectorInfo,
    ModelInfo,
    load_corrector,
    load_model,
    save_corrector,
    save_model,
)
from icface.networks.config import DiscriminatorConfig, EncoderConfig, GeneratorConfig, NetworksConfig
from icface.networks.discriminator import Discriminator, Judgement
from icface.networks.generator import Generator
from icface.networks.icface import ICface
from icface.networks.patch import PatchConfig, PatchCorrector

__all__ = [
    "CorrectorInfo",
    "Discriminator",
    "DiscriminatorConfig",
    "EncoderConfig",
    "Generator",
    "GeneratorConfig",
    "ICface",
    "Judgement",
    "ModelInfo",
    "NetworksConfig",
    "PatchConfig",
    "PatchCorrector",
    "load_corrector",
    "load_model",
    "save_corrector",
    "save_model",
]
