"""Batches of a fixed number of rows, so that a row's numbers never depend on how many others there are.

Matrix products round differently at different batch sizes and simulators amplify the last bit; with blocks of one
size, the last one padded, a row's result is the same alone, among others, or in another order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_blocks(
    compute: Callable[[Tensor], tuple[Tensor, ...]], n_rows: int, block_size: int, device: torch.device
) -> tuple[Tensor, ...]:
    """compute(indices) over blocks of exactly block_size row indices, concatenated, (n_rows, ...) each.

    The last block is padded by repeating row 0, whose extra results are dropped.
    """
    indices = torch.zeros(-(-n_rows // block_size) * block_size, dtype=torch.long, device=device)
    indices[:n_rows] = torch.arange(n_rows, device=device)
    parts = [compute(block) for block in indices.split(block_size)]
    return tuple(torch.cat(columns)[:n_rows] for columns in zip(*parts, strict=True))


def bucket_widths(maximum: int) -> list[int]:
    """Window widths that are computed: powers of two up to `maximum`, and `maximum`.

    A row's window is padded to the next of these; which one depends on the row alone.
    """
    widths = [1]
    while widths[-1] * 2 < maximum:
        widths.append(widths[-1] * 2)
    return [*widths, maximum] if maximum > 1 else widths
