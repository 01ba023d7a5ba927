"""The dataset names dtag knows without looking at a disk or a server."""

from __future__ import annotations

from dtag.config.nearest import did_you_mean, nearest
from dtag.data.d4rl_catalog import d4rl_sources
from dtag.data.local_datasets import local_datasets

_MAZES = ("umaze", "medium", "large")
_ANT_MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")

# Farama's re-made or newly made sets; ids as of Minari 0.5. Whether the server still has one is not known here.
MINARI_IDS = (
    *(f"mujoco/{env}/{quality}-v0" for env in ("hopper", "halfcheetah", "walker2d", "ant")
      for quality in ("simple", "medium", "expert")),
    *(f"D4RL/pointmaze/{size}{reward}-v2" for size in ("open", *_MAZES) for reward in ("", "-dense")),
    *(f"D4RL/antmaze/{task}-v1" for task in _ANT_MAZES),
    *(f"D4RL/{task}/{quality}-v2" for task in ("pen", "hammer", "door", "relocate")
      for quality in ("human", "cloned", "expert")),
    *(f"D4RL/kitchen/{task}-v2" for task in ("complete", "partial", "mixed")),
)  # fmt: skip

# Name -> the arguments of make_point_maze_dataset.
GENERATED = {
    f"pointmaze-{size}{'-dense' if reward == 'dense' else ''}{'-limit' if segmentation == 'limit' else ''}": {
        "size": size, "reward": reward, "segmentation": segmentation,
    }
    for size in _MAZES for reward in ("sparse", "dense") for segmentation in ("goal", "limit")
}  # fmt: skip


def generated_id(name: str) -> str:
    """The id a generated dataset is stored under: pointmaze-umaze -> local/pointmaze/umaze-v0."""
    return f"local/{name.replace('-', '/', 1)}-v0"


def known_names() -> list[str]:
    """Everything `load_dataset` can be asked for by name, what is on this machine first."""
    local = [dataset.id for dataset in local_datasets()]
    return list(dict.fromkeys([*local, *GENERATED, *d4rl_sources(), *MINARI_IDS]))


def suggestion(name: str) -> str:
    """What to append to "there is no dataset 'name'": the nearest names and where to see all."""
    offers = did_you_mean(nearest(name, known_names()))
    return f"{offers} `dtag data list` shows all" if offers else "; `dtag data list` shows what there is"
