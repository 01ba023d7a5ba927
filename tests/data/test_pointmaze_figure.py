"""Maze figures are written, and show what they were given."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from dtag.data.pointmaze_environment import MAZES
from dtag.report.maze_figure import draw_paths, draw_paths_side_by_side


def pictures_differ(first, second) -> bool:
    return not np.array_equal(matplotlib.image.imread(first), matplotlib.image.imread(second))


@pytest.mark.parametrize("size", list(MAZES))
def test_paths_show_in_the_picture(size, tmp_path):
    goal = np.array(MAZES[size].goal, np.float64)
    path = goal + np.linspace([0.0, 0.0], [-0.5, -0.3], 40)
    draw_paths(size, [], title="maze", path_png=tmp_path / "empty.png")
    draw_paths(size, [path], title="maze", path_png=tmp_path / "one.png")
    draw_paths(size, [path], title="maze", path_png=tmp_path / "values.png", values=[np.linspace(1, 0, 40)])
    assert pictures_differ(tmp_path / "empty.png", tmp_path / "one.png")
    assert pictures_differ(tmp_path / "one.png", tmp_path / "values.png")


def test_two_panels_are_drawn_from_states_too_and_paths_of_one_point(tmp_path):
    states = np.column_stack([np.linspace(1, 3, 30), np.full(30, 3.0), np.zeros((30, 2))])
    draw_paths_side_by_side("umaze", [states], [states[:1]], ("off", "on"), tmp_path / "both.png")
    height, width = matplotlib.image.imread(tmp_path / "both.png").shape[:2]
    assert width > 1.5 * height
