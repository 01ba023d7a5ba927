"""The root-mean-square action gradient of a critic over its data: the unit of `ag.eta_unit: rms`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

from dtag.critic.networks import QChoice
from dtag.data.datamodule import TrajectoryDataModule
from dtag.errors import UsageError
from dtag.refiners.action_gradient import action_gradient_rms, rms_name


def rms_over_data(
    critic: Any, data: TrajectoryDataModule, choices: Sequence[QChoice] = get_args(QChoice), kappa: float = 1.0
) -> dict[str, float]:
    """For every Q among `choices` that the critic has, over at most 20,000 of the data's steps, drawn by its seed.

    kappa: besides 1, another weight of the members' std in the bounds. Keys: see rms_name.
    """
    if not hasattr(critic, "q_reduced"):  # CGDT's has no Q of one state and action
        return {}
    device = next(critic.parameters()).device
    batch = data.some_transitions(20_000)
    states, actions = batch.states.to(device), batch.actions.to(device)
    result: dict[str, float] = {}
    for choice in choices:
        with contextlib.suppress(UsageError):  # a critic need not offer every choice
            for name, weight in {rms_name(choice, 1.0): 1.0, rms_name(choice, kappa): kappa}.items():
                function = partial(critic.q_reduced, choice=choice, kappa=weight)
                result[name] = action_gradient_rms(function, states, actions)
    return result
