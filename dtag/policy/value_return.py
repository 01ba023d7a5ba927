"""ADT's return token: the critic's value in place of a return (Autotuned Decision Transformer, V-ADT)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dtag.data.segments import SegmentBatch
from dtag.errors import UsageError
from dtag.policy.sequence_model import Window


class ValueReturn(nn.Module):
    """Tokens from a critic: Q'(s_t, a_t) of the data's action in training, V(s_t) at evaluation; nothing to train.

    The policy so learns which actions are worth how much, and is asked for one worth the state's (expectile) value.
    scale: divides both before a network sees them; 100 is the largest value of rewards of at most 1 at discount 0.99.
    """

    def __init__(self, *, scale: float = 100.0) -> None:
        super().__init__()
        self.scale = scale
        self._critic: list[Any] = []  # a list: not a submodule, the agent and the trainer hold it already

    def attach(self, critic: Any) -> None:
        """The frozen critic to ask. Raises UsageError when there is none or it has no V."""
        if critic is None or not hasattr(critic, "value"):
            raise UsageError("ValueReturn needs a critic with a V(s), like dtag.critic.iql.IQL: set `critic`")
        self._critic = [critic]

    @torch.no_grad()
    def relabel(self, batch: SegmentBatch) -> SegmentBatch:
        """The batch with Q'(s_t, a_t) / scale as its returns-to-go; padding stays zero."""
        q = self._critic[0].q_reduced(batch.states.flatten(0, 1), batch.actions.flatten(0, 1), "target_min")
        returns = (q.view(batch.mask.shape) * batch.mask / self.scale).unsqueeze(-1)
        return batch._replace(returns_to_go=returns.to(batch.returns_to_go.dtype))

    def predict_return(self, window: Window) -> Tensor:
        """V(s) / scale of each row's newest step, (B, 1)."""
        newest = (window.lengths - 1)[:, None, None].expand(-1, 1, window.states.shape[-1])
        return self._critic[0].value(window.states.gather(1, newest)[:, 0]).unsqueeze(1) / self.scale
