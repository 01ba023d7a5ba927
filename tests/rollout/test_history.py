from __future__ import annotations

import numpy as np
import pytest
import torch

from dtag.rollout.history import History

S, A = 3, 2


class Lists:
    """A row's whole past as plain lists."""

    def __init__(self) -> None:
        self.states: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.returns: list[float] = []

    def window(self, length: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        first = len(self.states) - length
        states, actions = np.zeros((width, S), np.float32), np.zeros((width, A), np.float32)
        returns, timesteps = np.zeros((width, 1), np.float32), np.zeros(width, np.int64)
        for i in range(length):
            states[i], actions[i] = self.states[first + i], self.actions[first + i]
            returns[i], timesteps[i] = self.returns[first + i], first + i
        return states, actions, returns, timesteps


def _step(history: History, rows: dict[int, Lists], slots: list[int], generator: np.random.Generator) -> None:
    """One step in the given slots, noted in both; the action is not yet written when the window is compared."""
    at = torch.tensor(slots)
    states = generator.normal(size=(len(slots), S)).astype(np.float32)
    returns = generator.normal(size=(len(slots), 1)).astype(np.float32)
    history.begin_step(at, torch.from_numpy(states))
    history.write_return(at, torch.from_numpy(returns))
    for slot, state, value in zip(slots, states, returns, strict=True):
        rows[slot].states.append(state)
        rows[slot].actions.append(np.zeros(A, np.float32))
        rows[slot].returns.append(float(value[0]))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_windows_equal_those_cut_from_plain_lists(length: int) -> None:
    generator = np.random.default_rng(length)
    history, rows = History(4, length, S, A, torch.device("cpu")), {slot: Lists() for slot in range(4)}
    for step in range(17):  # three times round the ring of 5
        slots = sorted(generator.choice(4, generator.integers(1, 5), replace=False).tolist())
        if step % 6 == 5:
            history.clear(torch.tensor(slots[:1]))
            rows[slots[0]] = Lists()
        _step(history, rows, slots, generator)
        at = torch.tensor(slots)
        assert history.available(at).tolist() == [min(len(rows[slot].states), length) for slot in slots]
        for width in range(1, length + 1):
            asked = [int(generator.integers(1, min(len(rows[slot].states), width) + 1)) for slot in slots]
            window = history.window(at, torch.tensor(asked), width)
            assert window.lengths.tolist() == asked
            for i, slot in enumerate(slots):
                expected = rows[slot].window(asked[i], width)
                for found, value in zip(window, expected, strict=False):
                    assert np.array_equal(found[i].numpy(), value)
        actions = generator.normal(size=(len(slots), A)).astype(np.float32)
        history.write_action(at, torch.from_numpy(actions))
        for slot, action in zip(slots, actions, strict=True):
            rows[slot].actions[-1] = action


def test_past_returns_are_the_last_ones_newest_last() -> None:
    history = History(2, 3, S, A, torch.device("cpu"))
    both = torch.tensor([0, 1])
    for value in (1.0, 2.0, 3.0, 4.0):
        history.begin_step(both, torch.zeros(2, S))
        history.write_return(both, torch.tensor([[value], [10 * value]]))
    assert history.past_returns(torch.tensor([1, 0])).tolist() == [[20, 30, 40], [2, 3, 4]]


def test_padding_is_zero_though_the_ring_holds_an_older_episode() -> None:
    history, slot = History(1, 4, S, A, torch.device("cpu")), torch.tensor([0])
    for _ in range(6):
        history.begin_step(slot, torch.full((1, S), 7.0))
        history.write_action(slot, torch.full((1, A), 7.0))
    history.clear(slot)
    history.begin_step(slot, torch.ones(1, S))
    window = history.window(slot, torch.tensor([1]), 4)
    assert window.states[0].tolist() == [[1.0] * S, *([[0.0] * S] * 3)]
    assert not window.actions.any()
    assert window.timesteps.tolist() == [[0, 0, 0, 0]]


def test_a_new_step_holds_neither_action_nor_return_of_the_one_it_takes_the_place_of() -> None:
    history, row = History(1, 2, S, A, torch.device("cpu")), torch.tensor([0])
    for _ in range(3):
        history.begin_step(row, torch.ones(1, S))
        shown = history.window(row, history.available(row), 2)
        newest = int(shown.lengths) - 1
        assert (shown.actions[0, newest].tolist(), shown.returns_to_go[0, newest].item()) == ([0.0] * A, 0.0)
        history.write_return(row, torch.full((1, 1), 7.0))
        history.write_action(row, torch.full((1, A), 0.5))
