from __future__ import annotations

import pytest
import torch

from dtag.rollout.context_rule import context_lengths
from tests.reference.context_rule import context_length_loop


@pytest.mark.parametrize("rule", ["chain", "anchor", "off"])
@pytest.mark.parametrize(("length", "maximum"), [(1, 1), (1, 20), (5, 3), (8, 8), (20, 20), (6, 20)])
def test_it_equals_the_walk_back(rule, length, maximum):
    generator = torch.Generator().manual_seed(length)
    rows = 300
    predicted = torch.randint(0, 4, (rows, length), generator=generator).double()  # few values: many ties
    predicted[: rows // 2] = predicted[: rows // 2].sort(dim=1, descending=True).values  # long walks too
    valid = torch.randint(1, length + 1, (rows,), generator=generator)
    expected = [
        context_length_loop(row[length - n :], rule, maximum)
        for row, n in zip(predicted.tolist(), valid.tolist(), strict=True)
    ]
    lengths = context_lengths(predicted, valid, rule=rule, maximum=maximum)
    assert lengths.dtype == torch.long
    assert lengths.tolist() == expected


@pytest.mark.parametrize(
    ("predicted", "chain", "anchor"),
    [
        ([5, 4, 3, 2, 1], 5, 5),
        ([1, 2, 3, 4, 5], 1, 1),
        ([5, 3, 4, 2, 1], 3, 5),  # the rise from 3 to 4 stops the chain; the anchor compares with 1
        ([5, 4, 3, 3, 1], 2, 5),  # a tie stops the chain
        ([5, 4, 1, 2, 1], 2, 2),  # a tie with the newest stops the anchor, and 5 behind it does not count
        ([2, 2, 2, 2, 2], 1, 1),
    ],
)
def test_hand_made_sequences(predicted, chain, anchor):
    row, valid = torch.tensor([predicted], dtype=torch.float32), torch.tensor([5])
    assert context_lengths(row, valid, rule="chain", maximum=20).item() == chain
    assert context_lengths(row, valid, rule="anchor", maximum=20).item() == anchor


@pytest.mark.parametrize("rule", ["chain", "anchor", "off"])
def test_what_lies_before_the_episode_does_not_matter(rule):
    row = torch.tensor([[9.0, 8, 7, 3, 2, 1]])
    dirty = row.clone()
    for garbage in (float("nan"), float("inf"), -1.0):
        dirty[:, :3] = garbage
        assert context_lengths(dirty, torch.tensor([3]), rule=rule, maximum=20).item() == 3


def test_chain_never_exceeds_anchor():
    predicted = torch.randn(500, 10, generator=torch.Generator().manual_seed(3)).cumsum(1)
    valid = torch.full((500,), 10)
    chain, anchor = (context_lengths(predicted, valid, rule=rule, maximum=10) for rule in ("chain", "anchor"))
    assert (chain <= anchor).all()
    assert (chain < anchor).any()
