"""The sequence policy: Decision Transformer, and Reinformer's action network (with or without its return head).

Reference: Chen et al. 2021 (order R, s, a; action read from the state token); Zhuang et al. 2024, Reinformer
(order s, R, a; return read from the state token, action from the return token).
Differences from the authors' codes: padding is on the right with a mask; the next-state head, which no loss of either
reads, is left out; a trailing action token that no head can see is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from dtag.policy.heads import HeadName, make_head, newest_action
from dtag.policy.output import PolicyOutput
from dtag.policy.row_stable_linear import RowStableLinear
from dtag.policy.sequence_model import Init, SequenceModel, Token, TokenOrder, Window, init_normal
from dtag.policy.transformer import Activation, DropoutPlace, Norm

# The token just before the action's own, which the action is read from.
ACTION_TOKEN: dict[TokenOrder, Token] = {"sra": "return", "rsa": "state", "ja": "joint", "sa": "state"}


class DecisionTransformer(nn.Module):
    """Actions from a window of states, returns-to-go and past actions.

    predicts_return: add Reinformer's return head, making this the original single network; paper 1 uses a separate
    return model instead. token_order: see SequenceModel. head: see make_head.
    learn_std: see make_head; with LAMB it is refused. init: see SequenceModel; the squashed head has its own whatever it
    is. Others: see SequenceModel.

    Defaults are Reinformer's; DT needs token_order="rsa", norm="pre", head="deterministic".
    """

    def __init__(
        self,
        state_dim: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        max_timestep: int,
        *,
        hidden: int = 256,
        n_layers: int = 4,
        n_heads: int = 8,
        token_order: TokenOrder = "sra",
        head: HeadName = "gaussian",
        learn_std: bool = False,
        predicts_return: bool = False,
        time_embedding: Literal["absolute", "none"] = "absolute",
        norm: Norm = "post",
        activation: Activation = "gelu",
        embedding_dropout: float = 0.0,
        attention_dropout: float = 0.1,
        attention_dropout_on: DropoutPlace = "output",
        residual_dropout: float = 0.1,
        init: Init = "torch",
    ) -> None:
        super().__init__()
        if predicts_return and token_order != "sra":
            raise ValueError(
                "predicts_return needs token_order='sra': in 'rsa' the state token already sees the return"
            )
        self.model = SequenceModel(
            state_dim,
            len(action_low),
            max_timestep,
            hidden=hidden,
            n_layers=n_layers,
            n_heads=n_heads,
            token_order=token_order,
            time_embedding=time_embedding,
            norm=norm,
            activation=activation,
            embedding_dropout=embedding_dropout,
            attention_dropout=attention_dropout,
            attention_dropout_on=attention_dropout_on,
            residual_dropout=residual_dropout,
            init=init,
        )
        bounds = (action_low, action_high)
        self.head = make_head(head, hidden, *bounds, learn_std)
        self.return_head = RowStableLinear(hidden, 1) if predicts_return else None
        if init == "normal":
            for part in (self.head if head != "squashed" else None, self.return_head):
                if part is not None:
                    part.apply(init_normal)
        self.action_token: Token = ACTION_TOKEN[token_order]
        self.reads_return = token_order != "sa"

    @property
    def predicts_return(self) -> bool:
        return self.return_head is not None

    def forward(self, states: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor) -> PolicyOutput:
        """Predictions at every step of a batch of segments: (B, K, S), (B, K, A), (B, K, 1), (B, K) -> PolicyOutput."""
        if self.return_head is None:
            features = self.model.encode(states, actions, returns_to_go, timesteps, (self.action_token,))
            action, distribution = self.head(features[:, :, 0])
            return PolicyOutput(action, distribution, None)
        features = self.model.encode(states, actions, returns_to_go, timesteps, ("state", "return"))
        action, distribution = self.head(features[:, :, 1])
        return PolicyOutput(action, distribution, self.return_head(features[:, :, 0]))

    def act(self, window: Window) -> Tensor:
        """Action (B, A) for each row's newest step, whose return-to-go is in the window: the mean, or with noise a sample."""
        return newest_action(self.head, self.model.encode_last(window, self.action_token), window.noise)

    def predict_return_and_act(self, window: Window) -> tuple[Tensor, Tensor]:
        """Predicted return-to-go (B, 1) of the newest step and the action (B, A) given it, in one pass over the prefix.

        Equals two passes, the second with the prediction written into the window (Reinformer's inference).
        """
        assert self.return_head is not None
        features, prefixes, n_valid = self.model.encode_last_then(window, "state")
        predicted = self.return_head(features)
        newest = window.timesteps.gather(1, (window.lengths - 1).unsqueeze(1))[:, 0]
        extended = self.model.extend_return(predicted, newest, prefixes, n_valid)
        return predicted, newest_action(self.head, extended, window.noise)
