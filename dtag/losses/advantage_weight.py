"""How advantage-weighted regressions turn an advantage into a weight."""

from __future__ import annotations

import math

from torch import Tensor


def advantage_weight(advantage: Tensor, temperature: float, maximum: float) -> Tensor:
    """min( exp(advantage / temperature), maximum ), without gradient.   (Nair et al. 2020; Kostrikov et al. 2021)

    advantage: any shape, in units of Q. The exponent is what is clipped, so that nothing overflows on the way.
    """
    return (advantage.detach() / temperature).clamp(max=math.log(maximum)).exp()
