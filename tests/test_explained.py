"""Every key that a shipped YAML leads to is explained by `dtag config`, where a user looks it up."""

from __future__ import annotations

import pytest

from dtag.config.explain import explain
from dtag.config.load import load_config
from dtag.sweep.sweep_file import SCHEMA as SWEEP_SCHEMA
from dtag.sweep.sweep_file import read_sweep
from dtag.training.experiment import SCHEMA, resolve
from dtag.training.resolve_online import resolve_online
from tests.test_conf import CONF, EXPERIMENTS, METHODS, ONLINE, SWEEPS, TOYS

BASES = {"pdt": "pdt", "iql": "iql", "td3_bc": "td3_bc"}  # the others fine-tune what dt_td3 trained


def configs():
    for path in (*EXPERIMENTS, *METHODS, *TOYS):
        yield pytest.param(SCHEMA, resolve([str(path)], []), id=path.stem)
    for path in ONLINE:
        base = CONF / "methods" / f"{BASES.get(path.stem, 'dt_td3')}.yaml"
        of_environment = {"online", "eval"} <= load_config([path]).keys() and path.stem not in BASES
        if of_environment:  # it serves the offline stage too
            trained, over = resolve([str(base), str(path)], ["online=null"]), [str(path)]
        else:
            trained, over = resolve([str(base)], []), [str(CONF / "online" / "hopper.yaml"), str(path)]
        config = resolve_online({"config": trained}, over, [])
        yield pytest.param(SCHEMA, config, id=f"online-{path.stem}")
    for path in SWEEPS:
        yield pytest.param(SWEEP_SCHEMA, read_sweep(str(path)).settings, id=f"sweep-{path.stem}")


@pytest.mark.parametrize(("schema", "config"), list(configs()))
def test_every_key_is_explained_in_place(schema, config):
    rows = explain(schema, config)
    assert len(rows) > 10
    assert [row.key for row in rows if not row.help or row.help.startswith("see ")] == []
