"""An episode on film, and for a point maze in stills as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtag.config.build import build
from dtag.data.dataset import Reference
from dtag.data.pointmaze_environment import MAZES, PointMaze
from dtag.data.reference_scores import reference_as_evaluated
from dtag.errors import UsageError
from dtag.evaluation.evaluate import AG_OFF, AG_ON, environment_factory, plans_off_and_on
from dtag.evaluation.settings import EvaluationSettings
from dtag.report.filmed import FilmedEnvironments, Scene
from dtag.report.frame import Panel, compose
from dtag.report.headless import choose_renderer
from dtag.report.video_file import check_video_path, video_file
from dtag.rollout.agent import Agent
from dtag.rollout.episodes import EpisodePlan, EpisodeRow, rollout
from dtag.training.atomic_file import replaced_when_whole
from dtag.training.checkpoint import agent_of, read_with_overrides
from dtag.training.chosen_device import chosen_device

TITLES = {AG_OFF: "Action Gradient off", AG_ON: "Action Gradient on"}
FRAMES_PER_SECOND = {".mp4": 30.0, ".gif": 15.0}  # about so many; a step is never shown twice
LAST_FRAME_SECONDS = 1.5


@dataclass(frozen=True)
class Played:
    """One episode. score: None without reference returns, and for an episode that was cut. cut: by n_steps."""

    label: str
    seed: int
    return_: float
    score: float | None
    length: int
    cut: bool


@dataclass(frozen=True)
class PlayResult:
    """stills: pictures of the maze, empty for other environments. renderer: MuJoCo's, see choose_renderer."""

    episodes: list[Played]
    reference: Reference | None
    video: Path
    stills: list[Path]


def play(
    checkpoint: str | Path,
    overrides: list[str] | None = None,
    *,
    video: Path,
    compare: bool = False,
    seed: int | None = None,
    n_steps: int | None = None,
    speed: float = 1.0,
    trust: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> PlayResult:
    """Film one episode of the agent as it is, or with Action Gradient off and on side by side from the same start.

    seed: of the episode; None = eval.seed, the first of `dtag validate`, whose numbers these are. n_steps: cut there.
    speed: 1 = as fast as the simulated time. on_step(steps): called after every step of the longer episode.
    Raises UsageError, CheckpointError, DtagError where the environment or this machine cannot draw.
    """
    check_video_path(video)
    choose_renderer()
    contents, config = read_with_overrides(checkpoint, overrides or [], trust=trust)
    agent = agent_of(contents, config, chosen_device(build(config["train"])))
    settings, spec = _one_episode(build(config["eval"]), seed), agent.spec
    factory = environment_factory(settings, spec)
    if factory is None:
        raise UsageError(f"{spec.info.id} names no environment to play in: give eval.environment=ID")
    plans = _plans(agent, settings, compare)
    filmed = FilmedEnvironments(factory, len(plans), n_steps=n_steps)
    try:
        factory.check(spec)
        rows = _film(agent, filmed, plans, video, speed, on_step)
        scenes = [filmed.scenes[slot] for slot in range(len(plans))]
        stills = _maze_stills(agent, filmed.environments[0].unwrapped, rows, video)
    finally:
        filmed.close()
    reference = reference_as_evaluated(spec.info, config["eval"])
    played = [_played(row, scene, reference) for row, scene in zip(rows, scenes, strict=True)]
    return PlayResult(played, reference, video, stills)


def _one_episode(settings: EvaluationSettings, seed: int | None) -> EvaluationSettings:
    own = settings.seed if seed is None else seed
    return replace(settings, episodes=1, seed=own, target_return=settings.targets[0])


def _plans(agent: Agent, settings: EvaluationSettings, compare: bool) -> list[EpisodePlan]:
    plans = plans_off_and_on(agent, settings)
    if compare and len(plans) < 2:
        raise UsageError(
            "--compare needs Action Gradient: this agent has none (ag=null, ag.n_steps=0 or no critic with a Q(s, a)); "
            "attach a critic with critic.ckpt=PATH, or leave out --compare"
        )
    return plans if compare else plans[-1:]


def _film(
    agent: Agent,
    filmed: FilmedEnvironments,
    plans: list[EpisodePlan],
    video: Path,
    speed: float,
    on_step: Callable[[int], None] | None,
) -> list[EpisodeRow]:
    per_second = filmed.steps_per_second * speed
    filmed.every = max(1, round(per_second / FRAMES_PER_SECOND[video.suffix]))
    footer = f"{agent.spec.info.id}  ·  seed {plans[0].seed}"
    on = plans[-1].settings
    if on.n_steps:
        footer += f"  ·  rule {on.rule}, eta {on.eta:g}, n_steps {on.n_steps}"

    def frame() -> NDArray[np.uint8]:
        scenes = [filmed.scenes[slot] for slot in range(len(plans))]
        return compose([_panel(plan, scene, agent) for plan, scene in zip(plans, scenes, strict=True)], footer)

    with video_file(video, per_second / filmed.every) as append:

        def after_step(_: int, __: int) -> None:
            moment = max(scene.length for scene in filmed.scenes.values())
            if moment % filmed.every == 0:
                append(frame())
            if on_step is not None:
                on_step(moment)

        rows = rollout(agent, filmed, plans, on_step=after_step, keep_states=True)
        for _ in range(max(1, round(LAST_FRAME_SECONDS * per_second / filmed.every))):
            append(frame())
    return rows


def _panel(plan: EpisodePlan, scene: Scene, agent: Agent) -> Panel:
    title = TITLES.get(plan.label, plan.label) if agent.critic is not None else "policy"
    note = f"return {scene.return_:.1f}   step {scene.length:,}"
    if scene.cut:
        return Panel(scene.picture, title, f"cut here: {note}", ended=True)
    if not scene.ended:
        return Panel(scene.picture, title, note)
    reference = agent.spec.info.reference
    score = "" if reference is None else f"   score {float(reference.score(scene.return_)):.1f}"
    return Panel(scene.picture, title, f"ended: {note}{score}", ended=True)


def _played(row: EpisodeRow, scene: Scene, reference: Reference | None) -> Played:
    score = None if reference is None or scene.cut else float(reference.score(row.return_))
    return Played(row.label, row.seed, row.return_, score, row.length, scene.cut)


def _maze_stills(agent: Agent, environment: Any, rows: list[EpisodeRow], video: Path) -> list[Path]:
    """Pictures beside the film: the paths over the maze, and the critic's value and dQ/da where there is one."""
    if not isinstance(environment, PointMaze):
        return []
    from dtag.report.critic_field import critic_field
    from dtag.report.maze_figure import draw_critic, draw_paths, draw_paths_side_by_side

    size = next(name for name, maze in MAZES.items() if maze is environment.maze)
    paths = [np.stack(row.states)[:, :2] for row in rows]
    titles = [TITLES.get(row.label, row.label) if agent.critic is not None else "policy" for row in rows]
    still = video.with_name(f"{video.stem}.paths.png")
    with replaced_when_whole(still) as temporary:
        if len(rows) == 2:
            draw_paths_side_by_side(size, paths[:1], paths[1:], (titles[0], titles[1]), temporary)
        else:
            draw_paths(size, paths, title=titles[0], path_png=temporary)
    if agent.critic is None or agent.refiner is None:
        return [still]
    quiver = video.with_name(f"{video.stem}.critic.png")
    with replaced_when_whole(quiver) as temporary:
        draw_critic(size, critic_field(agent, environment.maze), title="What the critic says", path_png=temporary)
    return [still, quiver]
