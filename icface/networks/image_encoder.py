"""I_E, the image encoder of the first arXiv version."""

from __future__ import annotations

from torch import Tensor, nn

from icface.networks.config import EncoderConfig


class ImageEncoder(nn.Module):
    """An hourglass over the image."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.out_channels = config.channels
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, channels, H, W)."""
        raise NotImplementedError
