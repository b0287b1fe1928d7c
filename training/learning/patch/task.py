"""Training of the patch corrector: pairs of patches, the corrector, and a judge of mouths."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from icface.errors import ConfigError
from icface.networks import CorrectorInfo, PatchCorrector, load_corrector, save_corrector
from icface.networks.patch import widened
from training.learning.patch import losses
from training.learning.patch.config import PatchTrainConfig
from training.learning.patch.judge import Judge
from training.learning.patch.metrics import Correct, corrected, load_pairs, measure, table
from training.learning.patch.pairs import INDEX_FILE, PatchPairs, interest
from training.learning.runtime import Runtime, build_optimizer
from training.learning.task import Batch, Task, digest_of
from training.networks.squeezenet import load_squeezenet

logger = logging.getLogger(__name__)

GRID = 8


class PatchTask(Task):
    """See `Task`.

    Args:
        data: folder of pairs to train on.
        validation: folder of pairs to validate on; None takes those of `data`.
        perceptual: weights of SqueezeNet.

    Raises:
        ConfigError: settings, data and flags do not fit each other.
    """

    def __init__(
        self,
        config: PatchTrainConfig,
        data: Path,
        runtime: Runtime,
        validation: Path | None = None,
        perceptual: Path | None = None,
    ) -> None:
        if config.losses.perceptual > 0 and perceptual is None:
            raise ConfigError(
                f"losses.perceptual is {config.losses.perceptual}, but no network is given: "
                "--perceptual SQUEEZENET_ONNX, or --set losses.perceptual=0"
            )
        self.config: PatchTrainConfig = config
        self._runtime = runtime
        self._pairs = PatchPairs(data, config.sampling, config.seed)
        if validation is None:
            logger.warning("no --validation is given; validating on pairs that are trained on")
        self._validation = load_pairs(validation or data, most=config.validation_pairs)
        hardest = np.argsort(-interest(self._validation.conditions.numpy()))[:GRID]
        self._hardest = self._validation.part(hardest.copy())
        self._taps = None if perceptual is None else load_squeezenet(perceptual)
        if self._taps is not None:
            runtime.place(self._taps)
        self.digests = {
            "data": digest_of(data / INDEX_FILE),
            "validation": digest_of((validation or data) / INDEX_FILE),
            "perceptual": digest_of(perceptual),
        }
        self.judged_by = "l1" if self._taps is None else "perceptual"
        self._corrector = PatchCorrector(config.network)
        self._corrector.mean.copy_(self._pairs.mean)
        self._corrector.deviation.copy_(self._pairs.deviation)
        self.modules = {"corrector": runtime.place(self._corrector)}
        self._plays = config.losses.adversarial > 0 or config.losses.features > 0
        if self._plays:
            self.modules["judge"] = runtime.place(Judge(config.judge_width))
        self.optimizers = {
            name: build_optimizer(config.optimizer, module.parameters())
            for name, module in self.modules.items()
        }
        self._attention = losses.attention().to(runtime.device)

    def model(self) -> PatchCorrector:
        return self._corrector

    def datasets(self) -> Sequence[Dataset[dict[str, Tensor]]]:
        return [self._pairs]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """See `Task`. The batch is what `PatchPairs` gives, (B, …)."""
        corrector, weights = self._corrector, self.config.losses
        corrector.train()
        patch, target = batch["patch"].float() / 255, batch["target"].float() / 255
        warped, inner = patch[:, :3], patch[:, 3:]
        noise = torch.randn_like(batch["conditions"]) * corrector.deviation
        conditions = batch["conditions"] + self.config.sampling.noise * noise
        with self._runtime.autocast():
            keep, add = corrector(patch, conditions, torch.ones(len(patch), 3, device=patch.device))
        output = keep.float() * warped + add.float()
        with torch.no_grad():
            opening, unlocked = widened(inner), corrector.unlocked(inner)
            # The inside of open eyes stays as it is, so it is not asked for either.
            target = target * unlocked + warped * (1 - unlocked)
            weight = (self._attention + weights.opening * opening) * corrector.rim
        found = {
            "l1": losses.weighted_l1(output, target, weight),
            "gradient": losses.gradient_l1(output, target, weight),
            "residual": (output - warped).abs().mean(),
        }
        if weights.detail > 0:
            found["detail"] = losses.detail_distance(output, target, weight)
        if self._taps is not None and weights.perceptual > 0:
            found["perceptual"] = self._perceptual(output, target)
        if self._plays:
            windows = [losses.JUDGED[name] for name in self.config.judged]
            seen = [[window.of(each) for each in (target, output, opening)] for window in windows]
            judged = self._teach_judge(seen, batch["real"])
            found |= self._judged(seen)
        factors = {name: getattr(weights, name) for name in found}
        total = torch.stack([factors[name] * loss for name, loss in found.items()]).sum()
        self._runtime.minimise(total, self.optimizers["corrector"], found, self.config.optimizer.most_norm)
        if self._plays:
            found |= judged
        return {name: loss.detach() for name, loss in {**found, "total": total}.items()}

    def _perceptual(self, output: Tensor, target: Tensor) -> Tensor:
        assert self._taps is not None
        distances = []
        for window in (losses.MOUTH, losses.EYES):
            with self._runtime.autocast():
                with torch.no_grad():
                    wanted = self._taps(window.of(target))
                found = self._taps(window.of(output))
            distances.append(losses.perceptual_distance(found, wanted).mean())
        return torch.stack(distances).mean()

    def _teach_judge(self, seen: Sequence[Sequence[Tensor]], real: Tensor) -> dict[str, Tensor]:
        """A step of the judge. `seen` are target, output and opening, of each window that it sees."""
        judge = self.modules["judge"].requires_grad_(True)
        parts = []
        for target, output, opening in seen:
            with self._runtime.autocast():
                verdicts, _ = judge(torch.cat([target, output.detach()]), opening.repeat(2, 1, 1, 1))
            on_real, on_fake = verdicts.float().chunk(2)
            parts.append(losses.judge_loss(on_real, on_fake, real))
        loss = torch.stack(parts).mean()
        self._runtime.minimise(loss, self.optimizers["judge"], {"judge": loss})
        # The corrector's step follows, through a judge that stays as it is.
        judge.requires_grad_(False)
        return {"judge": loss}

    def _judged(self, seen: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
        judge = self.modules["judge"]
        adversarial, features = [], []
        for target, output, opening in seen:
            with self._runtime.autocast():
                with torch.no_grad():
                    _, wanted = judge(target, opening)
                verdicts, found = judge(output, opening)
            adversarial.append(losses.judged_loss(verdicts.float()))
            features.append(losses.feature_distance(found, wanted))
        return {"adversarial": torch.stack(adversarial).mean(), "features": torch.stack(features).mean()}

    def validate(self, shown: PatchCorrector) -> tuple[dict[str, float], Batch]:
        """Means over mouths and eyes, colours in levels, and each of them apart; the pairs that ask for most."""
        found = measure(self._validation, self._correction(shown), self._taps)
        both = [scores.row(np.ones(len(scores.l1), dtype=bool)) for scores in found.values()]
        numbers = {name: (both[0][name] + both[1][name]) / 2 for name in ("l1", "perceptual")}
        for row, means in table(self._validation, found).items():
            numbers |= {f"{row}: {name}": means[name] for name in ("l1", "inside", "perceptual")}
        return {name: value for name, value in numbers.items() if np.isfinite(value)}, self._hardest._asdict()

    @torch.no_grad()
    def picture(self, shown: PatchCorrector, batch: Batch) -> tuple[str, Tensor]:
        """Columns of target, warped frame and corrected one; puts the model in `eval`."""
        target, patch = (batch[name][:GRID].float() / 255 for name in ("target", "patch"))
        made = self._correction(shown)(patch, batch["conditions"][:GRID])
        rows = (target.cpu(), patch[:, :3].cpu(), made)
        return "target, warped, corrected", torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)

    def save(self, path: Path, shown: PatchCorrector, step: int) -> None:
        config = self.config
        told = config.provenance or "not stated"
        info = CorrectorInfo(network=config.network, provenance=told, licence=config.licence, step=step)
        save_corrector(path, shown, info)

    def start_from(self, path: Path) -> None:
        """See `Task`. The conditions' mean and deviation are the model's, too."""
        model, info = load_corrector(path)
        if info.network != self.config.network:
            raise ConfigError(f"{path} has another network than the settings; give a model of the same one")
        self._corrector.load_state_dict(model.state_dict())

    def _correction(self, shown: PatchCorrector) -> Correct:
        shown.eval()

        def correct(patch: Tensor, conditions: Tensor) -> Tensor:
            device = self._runtime.device
            return corrected(shown, patch.to(device), conditions.to(device)).cpu()

        return correct
