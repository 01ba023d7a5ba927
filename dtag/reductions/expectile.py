"""The asymmetric square whose minimiser is an expectile."""

from __future__ import annotations

from torch import Tensor


def asymmetric_square(difference: Tensor, expectile: float) -> Tensor:
    """Elementwise asymmetric squared error; its mean is least where the prediction is the expectile of the target.

    |expectile - 1(u < 0)| * u^2,  u = difference      (Kostrikov et al. 2021, Sec. 4.2; L_2^tau in Liu et al. eq. 5)

    difference: any shape, target - prediction, so an expectile near 1 punishes predicting too little and the prediction
    rises towards the maximum. expectile in (0, 1); 0.5 is half the square.
    """
    below = (difference < 0).to(difference.dtype)
    return (expectile - below).abs() * (difference * difference)
