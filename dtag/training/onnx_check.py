"""Whether exported files say what the agent says, by onnxruntime, on random states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dtag.refiners.action_gradient import ActionGradient
from dtag.rollout.agent import Agent
from dtag.training.onnx_export import ExportedAgent

TIE = 1e-5  # neighbouring returns this close, relative to max(1, |R|), may be ordered either way by rounding


@dataclass(frozen=True)
class Differences:
    """The largest |file - agent| / max(1, |agent|) of each output, and how many windows and pairs were compared.

    A return-to-go counts in units of the spec's return_scale, in which the network rounds it.

    n_ties: windows left out because two returns are so close that rounding decides the context length.
    """

    largest: dict[str, float]
    n_compared: int
    n_ties: int

    @property
    def worst(self) -> float:
        """The largest of all; NaN if any is."""
        return float(np.max(list(self.largest.values())))


def compare(agent: Agent, exported: ExportedAgent, *, n_rows: int = 16, seed: int = 0) -> Differences:
    """Roll the agent, unrefined, through random states and ask the files the same at every step.

    Windows of every length up to 1.5 context lengths of history; states normal with the data's moments, rewards normal.
    Raises ImportError without onnxruntime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    policy = onnxruntime.InferenceSession(exported.policy, options)
    generator = np.random.default_rng(seed)
    largest, n_ties = _compare_steps(agent, policy, generator, n_rows)
    n_steps = _n_steps(agent)
    if exported.critic is not None:
        critic = onnxruntime.InferenceSession(exported.critic, options)
        largest |= _compare_critic(agent, critic, generator, n_rows * n_steps)
    return Differences(largest, n_rows * n_steps, n_ties)


def _n_steps(agent: Agent) -> int:
    return agent.context.maximum * 3 // 2 + 2


def _compare_steps(
    agent: Agent, session: Any, generator: np.random.Generator, n_rows: int
) -> tuple[dict[str, float], int]:
    n_context, n_ties, scale = agent.context.maximum, 0, agent.spec.return_scale
    states = np.full((n_rows, n_context, agent.spec.state_dim), np.nan)  # NaN: nothing before the start may be read
    actions = np.full((n_rows, n_context, agent.spec.action_dim), np.nan, np.float32)
    returns = np.full((n_rows, n_context), np.nan)
    largest = {"action": 0.0, "return_to_go": 0.0}
    agent.reset(n_rows)
    agent.restart(range(n_rows), [replace(agent.default_settings, n_steps=0)] * n_rows)
    for step in range(_n_steps(agent)):
        states, actions, returns = (np.roll(history, -1, axis=1) for history in (states, actions, returns))
        states[:, -1] = _random_states(agent, generator, n_rows)
        returns[:, -1] = agent.remaining[:, 0].numpy()
        given = {"states": states, "actions": actions, "returns_to_go": returns}
        named = {**given, "timestep": np.full(n_rows, step)}
        action, return_to_go, lengths = session.run(["action", "return_to_go", "context_length"], named)
        decided = agent.act_rows(range(n_rows), states[:, -1])
        actions[:, -1] = decided.actions
        returns[:, -1] = _newest_return(agent)
        same = lengths == decided.context_length
        tied = ~same & _has_tie(returns, min(step + 1, n_context))
        n_ties += int(tied.sum())
        found = {
            "action": _difference(action[~tied], decided.actions[~tied]),
            "return_to_go": _difference(return_to_go / scale, returns[:, -1] / scale),  # as the network says it
        }
        # numpy's maximum keeps a NaN, Python's max loses it
        largest = {name: float(np.maximum(value, found[name])) for name, value in largest.items()}
        agent.observe(range(n_rows), generator.normal(size=n_rows))
    return largest, n_ties


def _compare_critic(agent: Agent, session: Any, generator: np.random.Generator, n_pairs: int) -> dict[str, float]:
    spec, refiner = agent.spec, agent.refiner or ActionGradient()
    assert agent.critic is not None
    states = _random_states(agent, generator, n_pairs)
    actions = generator.uniform(spec.action_low, spec.action_high, (n_pairs, spec.action_dim)).astype(np.float32)
    q, slope, members = session.run(["q", "dq_da", "q_members"], {"states": states, "actions": actions})
    normalized, variable = torch.from_numpy(spec.normalize(states)), torch.from_numpy(actions).requires_grad_()
    expected = refiner.q_function(agent.critic)(normalized, variable)
    (gradient,) = torch.autograd.grad(expected.sum(), variable)
    every = agent.critic.q(normalized, variable).detach().numpy().T
    return {
        "q": _difference(q, expected.detach().numpy()),
        "dq_da": _difference(slope, gradient.numpy()),
        "q_members": _difference(members, every),
    }


def _random_states(agent: Agent, generator: np.random.Generator, n_rows: int) -> NDArray[np.float64]:
    return generator.normal(agent.spec.state_mean, agent.spec.state_std, (n_rows, agent.spec.state_dim))


def _newest_return(agent: Agent) -> NDArray[np.float64]:
    """The raw return-to-go that each row's history holds for its newest step, (n_rows,)."""
    slots = torch.arange(len(agent.settings))
    return agent.history.past_returns(slots)[:, -1].double().numpy() * agent.spec.return_scale


def _has_tie(returns: NDArray[np.float64], n_valid: int) -> NDArray[np.bool_]:
    """Whether the newest return is as good as equal to an older one that the context rule may compare it with."""
    older, newest = returns[:, -n_valid:-1], returns[:, -1:]
    close = np.abs(older - newest) <= TIE * np.maximum(1.0, np.abs(newest))
    return np.asarray(close.any(1))


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if not len(found):
        return 0.0
    return float(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected))))
