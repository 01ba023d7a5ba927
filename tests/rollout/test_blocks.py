from __future__ import annotations

import pytest
import torch

from dtag.rollout.blocks import bucket_widths, in_blocks
from tests.reference.toy_environment import random_agent


@pytest.mark.parametrize("n_rows", [1, 3, 4, 5, 9])
def test_every_block_has_the_same_size_and_every_row_one_result(n_rows: int) -> None:
    blocks = []

    def compute(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        blocks.append(block.tolist())
        return block * 10, block.unsqueeze(1).expand(-1, 2)

    tens, pairs = in_blocks(compute, n_rows, 4, torch.device("cpu"))
    assert [len(block) for block in blocks] == [4] * -(-n_rows // 4)
    assert sum(blocks, [])[n_rows:] == [0] * (4 * len(blocks) - n_rows)  # noqa: RUF017
    assert tens.tolist() == [10 * row for row in range(n_rows)]
    assert pairs.shape == (n_rows, 2)


@pytest.mark.parametrize(
    ("maximum", "widths"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 20])],
)
def test_widths_double_up_to_the_maximum(maximum: int, widths: list[int]) -> None:
    assert bucket_widths(maximum) == widths


@pytest.mark.parametrize("block_size", [0, -4, 2, 5, 6])
def test_block_sizes_whose_rows_round_by_their_place_are_refused(block_size: int) -> None:
    with pytest.raises(ValueError, match=f"block_size={block_size} must be 1 or a multiple of 4"):
        random_agent(block_size=block_size)
