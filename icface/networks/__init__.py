"""The networks in torch. Training trains them, export turns them into graphs, and the live path never imports them."""

from icface.networks.checkpoint import ModelInfo, load_model, save_model
from icface.networks.config import DiscriminatorConfig, EncoderConfig, GeneratorConfig, NetworksConfig
from icface.networks.discriminator import Discriminator, Judgement
from icface.networks.generator import Generator
from icface.networks.icface import ICface

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "EncoderConfig",
    "Generator",
    "GeneratorConfig",
    "ICface",
    "Judgement",
    "ModelInfo",
    "NetworksConfig",
    "load_model",
    "save_model",
]
