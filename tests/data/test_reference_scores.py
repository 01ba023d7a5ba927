from __future__ import annotations

import pytest

from dtag.data.reference_scores import d4rl_reference, d4rl_reference_scores, reference_for_environment
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
