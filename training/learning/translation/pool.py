"""A pool of older outputs, so that a discriminator does not forget what the generator did before.

Source: Shrivastava et al. (arXiv 1612.07828), as CycleGAN's template has it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Up to `size` outputs (3, S, S). They are saved with the networks, so a resumed run goes on with them.

    With several processes each has its own pool. A resumed run gives all of them the first one's.
    """

    images: Tensor
    held: Tensor

    def __init__(self, size: int, size_px: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, 3, size_px, size_px))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, outputs: Tensor) -> Tensor:
        """What a discriminator is shown in place of new outputs (B, 3, S, S).

        Until the pool is full, new outputs are kept and shown. Then each is shown by half of the chances. By the other
        half it takes the place of a kept one, and that one is shown.
        """
        shown = []
        for output in outputs:
            held = int(self.held)
            if held < len(self.images):
                self.images[held] = output
                self.held += 1
                shown.append(output)
            elif held and float(torch.rand(())) < 0.5:
                place = int(torch.randint(held, ()))
                shown.append(self.images[place].clone())
                self.images[place] = output
            else:
                shown.append(output)
        return torch.stack(shown)
