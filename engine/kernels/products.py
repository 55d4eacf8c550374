"""Matrix products on a part of the GPU, each by the way that is fastest there, on torch's current stream."""

from __future__ import annotations

from importlib import import_module

import torch
from torch.nn.functional import linear

from engine.kernels.cublas_lt import WORKSPACE_BYTES, Algorithm, CublasLt, Shape, library_version
from engine.kernels.product_choices import On, PartChoices, ProductChoices


def on_this(dtype: torch.dtype, device: torch.device) -> On:
    """What choices made here hold for."""
    return On(torch.cuda.get_device_name(device), library_version(), str(dtype).removeprefix("torch."))


class ProductTools:
    """What the products of all parts share: libraries and room. They run one after the other."""

    def __init__(self, dtype: torch.dtype, device: torch.device, choices: ProductChoices):
        self.thin = import_module("engine.kernels.thin_linear")  # needs Triton, which a CPU box has not
        self.choices = choices
        self.library = CublasLt(dtype) if choices.choices else None
        self.workspace = torch.empty(WORKSPACE_BYTES if self.library else 0, dtype=torch.uint8, device=device)
        self.sm_count = torch.cuda.get_device_properties(device).multi_processor_count


class Products:
    """Of `sm_count` SMs, None for the whole chip. `is_deterministic`: by the same way on any number of SMs."""

    def __init__(self, tools: ProductTools, sm_count: int | None, is_deterministic: bool):
        self._tools = tools
        has_enough_sms = sm_count is None or sm_count >= tools.thin.LEAST_SMS
        self._thin = tools.thin if has_enough_sms and not is_deterministic else None
        self._choices = PartChoices() if is_deterministic else tools.choices.of_part(sm_count or tools.sm_count)
        self._algorithms: dict[Shape, Algorithm | None] = {}

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `Kernels.linear`."""
        if out is None and self._thin and self._thin.fits(x, weight):
            return self._thin.thin_linear(x, weight, bias)
        if bias is None and (algorithm := self._algorithm(x, weight)):
            return self._multiply(algorithm, x, weight, out)
        return linear(x, weight, bias) if out is None else torch.mm(x, weight.t(), out=out)

    def gated(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor | None:
        """As `Kernels.gated`; None where there is no way of its own."""
        return self._thin.thin_gated(x, weight) if self._thin and self._thin.fits(x, weight) else None

    def _algorithm(self, x: torch.Tensor, weight: torch.Tensor) -> Algorithm | None:
        """The one that was found to be the fastest, if the library knows it."""
        shape = Shape(len(x), *weight.shape)
        if shape not in self._algorithms:
            self._algorithms[shape] = self._found(shape)
        return self._algorithms[shape] if x.is_contiguous() else None

    def _found(self, shape: Shape) -> Algorithm | None:
        choice = self._choices.find(*shape)
        if choice is None or self._tools.library is None:
            return None
        algorithm = Algorithm(choice.configuration)
        return algorithm if self._tools.library.can(shape, algorithm) else None

    def _multiply(
        self, algorithm: Algorithm, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor | None
    ) -> torch.Tensor:
        assert self._tools.library is not None, "there is a choice of its algorithms"
        out = x.new_empty(len(x), len(weight)) if out is None else out
        self._tools.library.multiply(algorithm, x, weight, out, self._tools.workspace)
        return out
