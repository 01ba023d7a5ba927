"""`dtag play` on a line that draws itself, against `dtag validate`; and the headless renderer's choice."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtag.cli.main import main
from dtag.data.pointmaze_environment import find_maze
from dtag.errors import DtagError
from dtag.report.critic_field import critic_field
from dtag.report.filmed import FilmedEnvironments
from dtag.report.frame import Panel, compose
from dtag.report.headless import choose_renderer
from dtag.report.play import play
from dtag.report.video_file import video_file
from dtag.rollout.environments import EnvironmentFactory, InProcess
from dtag.rollout.episodes import EpisodePlan, rollout
from dtag.training.fit import fit
from dtag.training.validate import validate
from tests.reference.toy_environment import Line, line_config, random_agent, store_line

imageio = pytest.importorskip("imageio.v2", reason="films need imageio; to run it: pip install -e '.[video]'")

DRAWN = "tests.report.test_play:DrawnLine"


class DrawnLine(Line):
    """A line whose picture's brightness is the number of steps taken."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.render_mode = render_mode

    def render(self) -> np.ndarray:
        return np.full((40, 60, 3), self.elapsed, np.uint8)


class Blank(DrawnLine):
    """Says that it draws, and does not."""

    def render(self) -> Any:
        raise RuntimeError("no OpenGL")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = line_config(store_line(), tmp_path_factory.mktemp("runs"), ag={"n_steps": 5, "eta": 0.5})
    config["train"] |= {"n_steps": 2, "evaluate_every": 0}
    config["eval"] |= {"environment": DRAWN, "max_episode_steps": 9}
    return fit(config)


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("COLUMNS", "80")


def test_both_episodes_are_those_of_validate(run: Any, tmp_path: Path) -> None:
    ours = play(run.agent, video=tmp_path / "a.gif", compare=True, seed=3, trust=True)
    theirs = validate(run.agent, ["eval.episodes=4", "eval.seed=0"], trust=True)
    expected = [(row["label"], row["return"], row["score"], row["length"]) for row in theirs.rows if row["seed"] == 3]
    assert [(e.label, e.return_, e.score, e.length) for e in ours.episodes] == expected
    assert expected[0][1] != expected[1][1]
    assert ours.stills == []  # a line is no maze


def test_the_first_to_end_freezes_while_the_other_goes_on(tmp_path: Path) -> None:
    agent, long = random_agent(), EnvironmentFactory(DRAWN, {"limit": 12})
    filmed = FilmedEnvironments(long, 2)
    filmed.environments[0].limit = 4
    seen = []
    plans = [EpisodePlan(1, replace(agent.default_settings, n_steps=n), str(n)) for n in (0, 3)]
    rollout(
        agent,
        filmed,
        plans,
        on_step=lambda *_: seen.append([int(filmed.scenes[slot].picture[0, 0, 0]) for slot in (0, 1)]),
    )
    assert [first for first, _ in seen] == [1, 2, 3, 4, *[4] * (len(seen) - 4)]
    assert [second for _, second in seen] == list(range(1, len(seen) + 1))
    assert len(seen) > 4
    assert filmed.scenes[0].ended


def test_filming_changes_no_number() -> None:
    agent, factory = random_agent(), EnvironmentFactory(DRAWN)
    plans = [EpisodePlan(seed, agent.default_settings, "") for seed in range(3)]
    filmed = FilmedEnvironments(factory, 3, every=5)
    assert rollout(agent, filmed, plans) == rollout(agent, InProcess(factory, 3), plans)
    assert [filmed.scenes[slot].return_ for slot in range(3)] == [
        row.return_ for row in rollout(agent, InProcess(factory, 3), plans)
    ]


@pytest.mark.slow
def test_a_robot_that_runs_stays_in_the_picture() -> None:
    pytest.importorskip("mujoco", reason="to run it: pip install -e '.[mujoco]'")
    filmed = FilmedEnvironments(EnvironmentFactory("Hopper-v5"), 1, every=1000)
    try:
        filmed.reset([0], [0])
    except DtagError as error:
        pytest.skip(f"{error}; either un-skips it")
    inside = filmed.environments[0].unwrapped
    here = _robot(filmed)
    position = inside.data.qpos.copy()
    position[0] += 40.0
    inside.set_state(position, inside.data.qvel)
    assert _robot(filmed) == pytest.approx(here, abs=0.02)
    filmed.close()


def _robot(filmed: FilmedEnvironments) -> float:
    """The share of the picture that is the hopper's reddish brown."""
    red, green, blue = np.moveaxis(filmed._picture(0).astype(int), 2, 0)
    share = float(((red > green + 12) & (red > blue + 20)).mean())
    assert share > 0.01
    return share


def test_a_cut_episode_has_no_score_and_as_many_frames_as_steps(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.gif"
    assert main(["play", "--ckpt", str(run.agent), "--video", str(path), "--steps", "3", "--trust"]) == 0
    out = capsys.readouterr().out
    assert "3 (cut)" in out
    assert "AG on" in out
    assert "AG off" not in out
    result = play(run.agent, video=path, n_steps=3, trust=True)
    assert [(e.score, e.length, e.cut) for e in result.episodes] == [(None, 3, True)]
    assert sum(frame.duration for frame in _frames(path)) == pytest.approx(1000 * (3 / 15 + 1.5), rel=0.1)


def _frames(path: Path) -> list[Any]:
    from types import SimpleNamespace

    from PIL import Image, ImageSequence

    with Image.open(path) as film:
        return [SimpleNamespace(duration=frame.info["duration"]) for frame in ImageSequence.Iterator(film)]


def test_an_mp4_holds_the_frames(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="mp4 needs ffmpeg; to run it: pip install -e '.[video]'")
    with video_file(tmp_path / "a.mp4", 20.0) as append:
        for brightness in range(0, 250, 25):
            append(np.full((64, 98, 3), brightness, np.uint8))
    with imageio.get_reader(tmp_path / "a.mp4") as film:
        frames = [frame.mean() for frame in film]
        assert film.get_meta_data()["fps"] == 20.0
    assert frames == pytest.approx(range(0, 250, 25), abs=4)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_film_that_fails_leaves_no_file_and_what_stood_there(suffix: str, tmp_path: Path) -> None:
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg", reason="mp4 needs ffmpeg; to run it: pip install -e '.[video]'")
    path = tmp_path / f"film{suffix}"
    path.write_text("before")
    with pytest.raises(ValueError, match="midway"), video_file(path, 30.0) as append:  # noqa: PT012
        append(np.zeros((64, 64, 3), np.uint8))
        raise ValueError("midway")
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_captions_are_drawn_over_pictures_that_stay_as_they_are() -> None:
    picture = np.full((400, 480, 3), 90, np.uint8)
    plain = compose([Panel(picture, "", "")])
    both = compose(
        [Panel(picture, "Action Gradient off", "return 1.0"), Panel(picture, "on", "", ended=True)], "seed 1"
    )
    assert both.shape[0] % 2 == both.shape[1] % 2 == 0
    assert (both == 90).all(axis=2).sum() >= 2 * 400 * 480
    assert plain.min() == 90  # nothing written
    assert both.min() < 60
    tiny = compose([Panel(picture[:30, :40], "a title", "return")])
    assert tiny.shape[1] > 360


@pytest.mark.parametrize(
    ("overrides", "message", "status"),
    [
        (["eval.environment=tests.reference.toy_environment:Line"], "no render mode 'rgb_array'", 1),
        (["eval.environment=tests.report.test_play:Blank"], "cannot be drawn: RuntimeError: no OpenGL", 1),
        (["eval.environment=null"], "give eval.environment=ID", 2),
        (["ag.n_steps=0"], "--compare needs Action Gradient", 2),
        (["--speed", "0"], "must lie between", 2),
        (["--steps", "0"], "at least 1", 2),
        (["--video", "film.avi"], "must end in .mp4 or .gif", 2),
    ],
)
def test_what_cannot_be_filmed_is_one_clear_message(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str, status: int
) -> None:
    words = ["play", "--ckpt", str(run.agent), "--video", str(tmp_path / "a.gif"), "--compare", "--trust", *overrides]
    assert main(words) == status
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_missing_ffmpeg_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(DtagError, match=r"pip install -e '\.\[video\]'"):
        play("nothing.ckpt", video=tmp_path / "a.mp4")


def test_the_first_renderer_that_draws_is_taken_and_the_users_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def only(working: str) -> Any:
        def ran(command: list[str], env: dict[str, str], **_: Any) -> Any:
            tried.append(env["MUJOCO_GL"])
            return subprocess.CompletedProcess(command, 0 if env["MUJOCO_GL"] == working else -11)

        return ran

    pytest.importorskip("mujoco", reason="to run it: pip install -e '.[mujoco]'")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert choose_renderer() == "egl"  # as set by the fixture: the user's
    for working, chosen, asked in (("egl", "egl", 1), ("osmesa", "osmesa", 2), ("", None, 2)):
        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.setattr(subprocess, "run", only(working))
        tried.clear()
        assert choose_renderer() == chosen
        assert tried == ["egl", "osmesa"][:asked]
        assert os.environ["MUJOCO_GL"] == (chosen or "disabled")


def test_the_critics_field_covers_the_free_cells_and_no_wall() -> None:
    agent, maze = random_agent(4, 2), find_maze("umaze")
    field = critic_field(agent, maze)
    assert len(field.points) == len(field.slopes) == 25 * len(maze.free_cells)
    assert np.isfinite(field.values).sum() == 100 * len(maze.free_cells)
    assert field.value_name == "V(s) at rest"
    inside = field.points[:25] - maze.free_cells[0]
    assert inside.min() == pytest.approx(-0.6)
    assert inside.max() == pytest.approx(0.2)
