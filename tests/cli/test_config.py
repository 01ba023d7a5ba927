from __future__ import annotations

from dtag.cli.main import main


def test_a_key_is_explained_with_what_another_class_says_of_it(capsys):
    assert main(["config", "data.weighting"]) == 0
    shown = capsys.readouterr().out
    assert 'data.weighting = "uniform"   one of "uniform", "length"' in shown
    assert '    "uniform" over trajectories (Reinformer) or' in shown  # SegmentSampler's docstring


def test_a_section_of_a_method_lists_its_own_keys(capsys):
    assert main(["config", "--config", "methods/cgdt", "losses"]) == 0
    shown = capsys.readouterr().out
    assert "losses.guided.coefficient = 1.0   a number" in shown
    assert "losses.action" not in shown


def test_a_key_that_is_not_there_is_refused_with_the_nearest(capsys):
    assert main(["config", "data.wieghting"]) == 2
    assert "did you mean 'data.weighting'" in capsys.readouterr().err
