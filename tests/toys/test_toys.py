"""The papers' toy experiments come out as `dtag toys` reports them; the slow ones train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtag.cli.main import main
from dtag.data.toy_datasets import ramp_actions
from dtag.data.toy_environments import chain_optimal_value, parabola, ramp
from dtag.report.toy_console import toy_rows, toy_table
from dtag.report.toy_figures import draw_chain, draw_parabola, draw_ramp
from dtag.toys import chain
from dtag.toys import parabola as parabola_toy
from dtag.toys import ramp as ramp_toy
from dtag.toys.chain import ChainResult, run_chain
from dtag.toys.jobs import KINDS, Job, jobs, run_jobs
from dtag.toys.parabola import ParabolaResult, run_parabola
from dtag.toys.ramp import RampResult
from dtag.training.experiment import resolve

CONF = Path(__file__).parents[2] / "conf" / "toy"
SEEDS = (0, 1)
QUIET = ("log.csv=false", "train.log_every=10000")
SMALL = (*QUIET, "train.n_steps=700", "critic.n_steps=1000", "critic.batch_size=256")


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_toy_resolves(path: Path) -> None:
    assert resolve([str(path)], [])["experiment"] == path.stem
    assert path.stem in KINDS


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        *((parabola_toy.CONFIG, own) for own in (parabola_toy.DT, parabola_toy.PG)),
        *((ramp_toy.CONFIG, own) for own in ramp_toy.METHODS.values()),
        *((chain.CONFIG, own) for own in (chain.CLONE, *chain.CRITICS.values())),
    ],
)
def test_every_methods_overrides_resolve(config: str, overrides: tuple[str, ...]) -> None:
    assert resolve([config], list(overrides))["losses"]


def test_every_experiment_has_a_job_for_each_kind_and_seed() -> None:
    planned = jobs(2)
    assert len(planned) == len(set(planned)) == 2 * sum(len(kinds) for kinds in KINDS.values())
    assert set(KINDS["ramp"]) == set(ramp_toy.METHODS)
    assert set(KINDS["chain"]) == set(chain.CRITICS)


def test_the_command_refuses_no_seeds() -> None:
    assert main(["toys", "--seeds", "0"]) == 2


def test_results_become_a_table_and_figures(tmp_path: Path) -> None:
    chosen = dict.fromkeys(parabola_toy.METHODS, 0.5)
    curve, walk = np.linspace(0.0, 1.0, 201, dtype=np.float32), np.linspace(-1.0, 0.0, 37)
    data = ramp_actions(0).astype(np.float32)
    results = {
        "parabola": [ParabolaResult("one-sided", seed, data, 0.75, curve, chosen) for seed in (0, 1)],
        "ramp": [RampResult("ODT", seed, data, walk, ramp(walk)) for seed in (0, 1)],
        "chain": [ChainResult("IQL", 0, np.arange(5), np.linspace(0.0, 12.0, 5), 9.8)],
    }
    rows = toy_rows(results)
    assert {row[0] for row in rows} == {"paper 1, Fig. 2: one-sided", "paper 2, Fig. 1-2", "paper 1, eq. 3"}
    assert [row[3] for row in rows if row[1] == "TP"] == [[0.75, 0.75]]
    assert toy_table(rows, 2).row_count == len(rows)
    draw_parabola(results["parabola"], tmp_path / "parabola.png")
    draw_ramp(results["ramp"], tmp_path / "ramp.png")
    draw_chain(results["chain"], tmp_path / "chain.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in results)


@pytest.mark.slow
def test_pg_and_ag_leave_the_data_where_tp_stays_in_it(tmp_path: Path) -> None:
    results = [run_parabola(tmp_path, "one-sided", seed, SMALL) for seed in SEEDS]
    rewards = [{method: float(parabola(action)) for method, action in r.chosen.items()} for r in results]
    for result, earned in zip(results, rewards, strict=True):
        assert 0.6 < earned["TP"] < result.best + 0.03
        assert earned["TP"] + 0.05 < earned["DT"] < earned["AG, n = 5"] - 0.03  # asked for 1, it extrapolates somewhere
        for method in ("PG", "AG, n = 5"):
            assert earned[method] > earned["TP"] + 0.12, method
            assert earned[method] > 0.85, method
        # The critic goes on rising beyond 0, where there is no data: a long climb overshoots the optimum.
        assert result.chosen["AG, n = 20"] < result.chosen["AG, n = 5"] - 0.2
        assert np.argmax(result.critic) == 0


@pytest.mark.slow
def test_two_sided_data_makes_dt_look_right_for_the_wrong_reason(tmp_path: Path) -> None:
    result = run_parabola(tmp_path, "two-sided", 0, SMALL)
    assert result.best < 0.76
    # The mean of actions on both sides is the optimum, which no trajectory has: averaging, not improvement.
    assert all(parabola(result.chosen[method]) > 0.95 for method in ("DT", "TP", "PG", "AG, n = 5"))


@pytest.mark.slow
def test_supervision_alone_stays_and_a_critics_gradient_finds_the_optimum(tmp_path: Path) -> None:
    planned = [job for job in jobs(len(SEEDS)) if job.experiment == "ramp"]
    done: list[Job] = []
    results = run_jobs(planned, tmp_path, 2, done.append)["ramp"]
    assert set(done) == set(planned)
    assert [(result.method, result.seed) for result in results] == [(job.kind, job.seed) for job in planned]
    for result in results:
        n_epochs = ramp_toy.N_PRETRAINING + ramp_toy.N_FINE_TUNING
        assert result.rewards.shape == result.actions.shape == (n_epochs,)
        np.testing.assert_allclose(result.rewards, ramp(result.actions))
        assert result.rewards[-1] < 0.1 if result.method == "ODT" else result.rewards[-1] > 0.9


@pytest.mark.slow
def test_the_naive_target_exceeds_every_possible_value_and_iql_does_not(tmp_path: Path) -> None:
    small = (*QUIET, "train.n_steps=600", "data.batch_size=128")
    optimum, bound = float(chain_optimal_value(chain.PROBES, chain.DISCOUNT).mean()), 1.0 / (1.0 - chain.DISCOUNT)
    for seed in SEEDS:
        ends = {name: run_chain(tmp_path, name, seed, small).estimates[-1] for name in ("IQL", "Bellman + AG")}
        assert ends["Bellman + AG"] > 1.5 * bound
        assert 0.6 * optimum < ends["IQL"] < optimum
