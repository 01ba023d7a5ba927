"""A run's scores at its evaluations, from the episodes it kept."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np

from dtag.report.collect_runs import Evaluation


def evaluation_means(one: Evaluation, quantity: str, over: str) -> dict[int, float]:
    """Mean of a quantity over episodes, by the row's `over` ("step", "environment_steps"); of episodes scored again after
    a resume the last count.
    """
    file = one.record.folder / "episodes.jsonl"
    episodes: dict[int, dict[int, float]] = defaultdict(dict)
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut off by a kill
        if row["label"] == one.setting and row.get(quantity) is not None and over in row:
            episodes[row[over]][row["seed"]] = row[quantity]
    return {at: float(np.mean(list(values.values()))) for at, values in episodes.items()}
