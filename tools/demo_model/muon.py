"""Muon: momentum whose update is made orthogonal, for the weight matrices; it knows nothing of the model."""

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients, tuned by Muon's author for a steep start
UPDATE_RMS = 0.2  # makes an update as large as AdamW's, so that both share learning rates and weight decay


class Muon:
    """Steps for 2-D parameters; those of one shape are orthogonalised together in one batch."""

    def __init__(self, parameters: list[Tensor], momentum: float = 0.95, weight_decay: float = 0.1) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        self.groups: dict[torch.Size, list[Tensor]] = {}
        for parameter in parameters:
            self.groups.setdefault(parameter.shape, []).append(parameter)
        self.averages = {shape: torch.zeros_like(torch.stack(group)) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for shape, group in self.groups.items():
            gradients = torch.stack([parameter.grad for parameter in group if parameter.grad is not None])
            average = self.averages[shape].lerp_(gradients, 1 - self.momentum)
            update = orthogonal(gradients.lerp(average, self.momentum))
            torch._foreach_mul_(group, 1 - learning_rate * self.weight_decay)  # pyright: ignore[reportPrivateImportUsage]
            rate = learning_rate * UPDATE_RMS * max(shape) ** 0.5
            torch._foreach_add_(group, list(update.unbind()), alpha=-rate)  # pyright: ignore[reportPrivateImportUsage]

    def zero_grad(self) -> None:
        for group in self.groups.values():
            for parameter in group:
                parameter.grad = None


def orthogonal(batch: Tensor, steps: int = 5) -> Tensor:
    """Roughly orthogonal matrices near to batch [n, rows, columns], by Newton-Schulz iteration in bf16."""
    a, b, c = NEWTON_SCHULZ
    x = batch.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).to(batch.dtype)
