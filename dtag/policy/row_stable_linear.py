"""A linear layer whose rows round alike: what a head with few outputs needs for rows not to depend on their place."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear, pad

NARROWEST = 4  # columns; BLAS kernels for fewer treat the rows at the end of a block differently (seen on AVX-512)


class RowStableLinear(nn.Linear):
    """nn.Linear whose product is never narrower than NARROWEST columns; the extra ones are zeros and dropped."""

    def forward(self, input: Tensor) -> Tensor:
        missing = NARROWEST - self.out_features
        if missing <= 0:
            return super().forward(input)
        weight = pad(self.weight, (0, 0, 0, missing))
        bias = None if self.bias is None else pad(self.bias, (0, missing))
        return linear(input, weight, bias)[..., : self.out_features]
