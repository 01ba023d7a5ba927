"""Whether parts of a user's own have what training will ask of them: said before there is a run, with the key to mend."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dtag.errors import UsageError
from dtag.policy.future_policy import NO_FUTURE, FuturePolicy
from dtag.policy.heads import NO_SAMPLE, DeterministicHead

OF_A_CRITIC = ("loss", "optimizer", "update_target")
OF_ONE_THAT_LEARNS_ALONG = (*OF_A_CRITIC, "copy_to_target", "polyak")


def check_critic(critic: Any, *, before: bool) -> None:
    """Raises UsageError for a critic that cannot be trained: before the policy, or else along with it."""
    if critic is not None:
        wanted = OF_A_CRITIC if before else OF_ONE_THAT_LEARNS_ALONG
        _refuse(
            "critic.model", critic, wanted, "dtag.critic.iql.IQL" if before else "dtag.critic.bellman.BellmanCritic"
        )


def check_networks(policy: Any, return_model: Any, future_steps: int = 1) -> None:
    """Raises UsageError for a policy or a return model that could be trained and then not act.

    future_steps: that the data holds behind each segment.
    """
    _refuse("policy", policy, ("act", "predicts_return"), "dtag.policy.decision_transformer.DecisionTransformer")
    if return_model is not None:
        _refuse("return_model", return_model, ("predict_return",), "dtag.policy.return_model.ReturnMLP")
    if isinstance(policy, FuturePolicy) and not future_steps:
        raise UsageError(NO_FUTURE)
    for key, network in (("policy", policy), ("return_model", return_model)):
        parts = network.modules() if isinstance(network, nn.Module) else ()
        if any(getattr(part, "hides_scale", False) for part in parts):
            raise UsageError(
                f"{key}: init=normal without a time embedding hides how large a return or state is behind the first norm; "
                f"set {key}.init=gpt2, or {key}.time_embedding=absolute"
            )


def check_exploration(policy: Any, exploration: str) -> None:
    """Raises UsageError for a policy that cannot be sampled where online.exploration asks for it."""
    if exploration == "sample" and isinstance(getattr(policy, "head", None), DeterministicHead):
        raise UsageError(NO_SAMPLE)


def check_terms(terms: Mapping[str, Any]) -> None:
    """Raises UsageError when there are none, and for one that is not called with (batch, output, critic)."""
    if not terms:
        raise UsageError(
            "the config has no loss terms, so there is nothing to learn: add one, like conf/methods/dt.yaml"
        )
    for name, term in terms.items():
        try:
            inspect.signature(term.forward if isinstance(term, nn.Module) else term).bind(None, None, None)
        except TypeError as error:
            raise UsageError(
                f"losses.{name}: {type(term).__name__} is called with (batch, output, critic): {error}"
            ) from error
        except ValueError:  # no signature to be had: it is tried out
            continue


def _refuse(key: str, part: Any, wanted: Sequence[str], example: str) -> None:
    missing = [name for name in wanted if not hasattr(part, name)]
    if missing:
        raise UsageError(f"{key}: {type(part).__name__} lacks {', '.join(missing)}; {example} shows what is asked for")
