"""What a fine-tuning run takes over from its checkpoint beside the policy: the critic, and what loss terms have learned."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from dtag.critic.along import LearnsAlong
from dtag.errors import UsageError
from dtag.training.checkpoint import critic_of

UNSEEN = ("discount", "layer_norm")  # what Q means depends on them, and no weight shows them


def start_critic(critic: Any, contents: dict[str, Any], *, keep: bool, report: Callable[[str], None]) -> None:
    """The checkpoint's critic where `critic` is of the same networks and `keep`; targets begin as copies (paper 2's code).

    Raises UsageError when the networks fit but mean something else here, another discount or LayerNorm.
    """
    fresh = copy.deepcopy(critic.state_dict())
    try:
        if contents.get("critic") is None or not keep:
            raise RuntimeError("none")
        critic.load_state_dict(contents["critic"])
    except RuntimeError:
        critic.load_state_dict(fresh)
        why = "the checkpoint has none of its networks" if keep else "online.keep_critic is off"
        report(f"critic: new, because {why}; its first gradients are noise")
    else:
        _check_meaning(critic, critic_of(contents))
        report("critic: the checkpoint's")
    critic.copy_to_target()


def start_terms(terms: nn.ModuleDict, contents: dict[str, Any]) -> None:
    """Entropy temperatures and the like go on where the checkpoint's terms of the same name left them."""
    learned = contents.get("terms") or {}  # younger than some checkpoints
    for name, tensor in terms.state_dict().items():
        if name in learned and learned[name].shape == tensor.shape:
            tensor.copy_(learned[name])


def _check_meaning(own: Any, trained: Any) -> None:
    unlike = {
        name: (_setting(trained, name), _setting(own, name))
        for name in UNSEEN
        if _setting(trained, name) != _setting(own, name)
    }
    if not unlike:
        return
    key = "critic.model.model" if isinstance(own, LearnsAlong) else "critic.model"
    told = " and ".join(f"{name} {before}, here {here}" for name, (before, here) in unlike.items())
    words = " ".join(f"{key}.{name}={str(before).lower()}" for name, (before, _) in unlike.items())
    raise UsageError(
        f"the checkpoint's critic was trained with {told}: its values would be wrong. Go on as it was trained "
        f"({words}), or with a new critic (online.keep_critic=false)"
    )


def _setting(critic: nn.Module, name: str) -> Any:
    return next((getattr(part, name) for part in critic.modules() if hasattr(part, name)), None)
