from __future__ import annotations

from typing import Any

import pytest

from dtag.data.dataset import DatasetInfo
from dtag.data.reference_scores import (
    d4rl_reference,
    d4rl_reference_scores,
    reference_as_evaluated,
    reference_for_environment,
)
from dtag.errors import UsageError


def test_every_reference_scores_its_minimum_0_and_its_maximum_100() -> None:
    assert len(d4rl_reference_scores()) > 100
    for name in d4rl_reference_scores():
        reference = d4rl_reference(name)
        assert reference.score([reference.minimum, reference.maximum]).tolist() == pytest.approx([0.0, 100.0])
        assert reference.label == "d4rl"


def test_hopper_has_d4rls_constants() -> None:
    reference = d4rl_reference("hopper-medium-v2")
    assert (reference.minimum, reference.maximum) == (-20.272305, 3234.3)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'hoper-medium-v2'; did you mean 'hopper-medium-v2'"):
        d4rl_reference("hoper-medium-v2")


@pytest.mark.parametrize("environment", ["Hopper-v4", "HalfCheetah-v2", "Walker2d-v4"])
def test_d4rls_own_versions_are_labelled_d4rl(environment: str) -> None:
    reference = reference_for_environment(environment)
    assert reference is not None
    assert reference.label == "d4rl"


@pytest.mark.parametrize("environment", ["Hopper-v5", "Walker2d-v5", "Hopper-v3", "AdroitHandPen-v1"])
def test_other_versions_are_labelled_as_another_scale(environment: str) -> None:
    reference = reference_for_environment(environment)
    assert reference is not None
    assert reference.label == "d4rl scale"


@pytest.mark.parametrize("environment", ["CartPole-v1", "Hopper", "package.module:Hopper-v4"])
def test_other_environments_have_no_reference(environment: str) -> None:
    assert reference_for_environment(environment) is None


@pytest.mark.parametrize(
    ("section", "label"),
    [
        ({}, "d4rl"),
        ({"environment": "dataset", "environment_kwargs": {}}, "d4rl"),
        ({"environment": "Hopper-v4"}, "d4rl"),
        ({"environment": None}, "d4rl"),
        ({"environment": "Hopper-v5"}, "d4rl scale"),
        ({"environment": "dataset", "environment_kwargs": {"healthy_reward": 0.0}}, "d4rl scale"),
    ],
)
def test_scores_of_another_environment_are_only_on_d4rls_scale(section: dict[str, Any], label: str) -> None:
    """Trap 44: a v5 score is never to be quoted as D4RL's."""
    info = DatasetInfo("d4rl/hopper-medium-v2", "Hopper-v4", reference=d4rl_reference("hopper-medium-v2"))
    found = reference_as_evaluated(info, section)
    assert found is not None
    assert found.label == label
    assert found.score([3234.3]) == d4rl_reference("hopper-medium-v2").score([3234.3])
    assert reference_as_evaluated(DatasetInfo("mine", "Hopper-v4"), section) is None
