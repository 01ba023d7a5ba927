"""Where a run stands on disk: what is finished, what is resumed, what is another run altogether."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtag.config.load import load_config, to_yaml
from dtag.errors import UsageError
from dtag.sweep.job import Job, refuse_other_configs
from tests.sweep.example_sweeps import METHODS, jobs_of


def _begin(job: Job) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "config.yaml").write_text(to_yaml(job.config))


def _finish(job: Job) -> None:
    _begin(job)
    job.product.write_text("{}")


def test_a_run_is_begun_then_resumed_then_finished(tmp_path: Path) -> None:
    job = jobs_of(tmp_path)["line/rf/seed-0"]
    assert job.prepare() == job.words
    (job.folder / "config.yaml").write_text(to_yaml(job.config))
    assert job.is_started
    assert job.prepare() == ("fit", "--resume", str(job.folder))
    job.product.write_text("{}")
    assert job.is_finished
    assert not job.is_started


def test_a_critic_is_resumed_as_a_critic(tmp_path: Path) -> None:
    critic = next(iter(jobs_of(tmp_path).values()))
    _begin(critic)
    assert critic.prepare() == ("fit", "--resume", str(critic.folder), "--stage", "critic")


def test_an_evaluation_is_never_resumed_and_leaves_its_config(tmp_path: Path) -> None:
    job = jobs_of(tmp_path, methods=METHODS)["line/dt_ag/seed-0"]
    assert job.prepare() == job.prepare() == job.words
    assert load_config([job.folder / "config.yaml"]) == job.config


def test_runs_of_the_same_config_are_accepted(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, methods=METHODS)
    for job in jobs.values():
        _finish(job)
    refuse_other_configs(list(jobs.values()))


def test_runs_of_another_config_are_refused_all_at_once_with_the_keys_that_differ(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, methods=METHODS)
    _begin(jobs["line/rf/seed-0"])
    _finish(jobs["line/dt/seed-0"])
    _finish(jobs["line/dt_ag/seed-0"])
    changed = jobs_of(tmp_path, "train.n_steps=30", "ag.n_steps=4", methods=METHODS)
    with pytest.raises(UsageError) as error:
        refuse_other_configs(list(changed.values()))
    text = str(error.value)
    assert "3 of the sweep's runs" in text
    assert text.count("train.n_steps is 20 there and 30 in the sweep") == 3
    assert "line/dt_ag/seed-0" in text
    assert "remove their folders" in text


def test_a_shared_critic_is_not_refused_for_the_policy_it_was_planned_for(tmp_path: Path) -> None:
    critic = next(iter(jobs_of(tmp_path).values()))
    _finish(critic)
    changed = next(iter(jobs_of(tmp_path, "policy.hidden=16", "train.n_steps=30").values()))
    assert changed.folder == critic.folder
    assert changed.differences() == []


def test_an_evaluation_that_never_finished_is_replaced(tmp_path: Path) -> None:
    _begin(jobs_of(tmp_path, methods=METHODS)["line/dt_ag/seed-0"])
    changed = jobs_of(tmp_path, "ag.n_steps=4", methods=METHODS)["line/dt_ag/seed-0"]
    assert changed.differences() == []


def test_results_without_the_config_that_made_them_are_refused(tmp_path: Path) -> None:
    job = jobs_of(tmp_path)["line/rf/seed-0"]
    job.folder.mkdir(parents=True)
    job.product.write_text("{}")
    with pytest.raises(UsageError, match=r"config\.yaml is missing"):
        refuse_other_configs([job])
