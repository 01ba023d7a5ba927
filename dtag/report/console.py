"""What a run prints at its end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from dtag.data.dataset import DatasetInfo, Reference
from dtag.data.reference_scores import reference_as_evaluated

Summary = dict[str, dict[str, dict[str, float]]]
OF_A_STEP = (
    "means over steps: context, how many the policy saw; by refinement: Q gained, as the critic has it, and |Δa|, the "
    "largest change over action dims"
)


def score_table(summary: Summary, reference: Reference | None, title: str) -> Table:
    """Score, return, length and what refinement did, one row a setting; mean ± std over episodes, and what they are."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("setting")
    for name in ("score", "IQM", "return", "length", "context", "Q gained", "|Δa|"):
        table.add_column(name, justify="right")
    for label, quantities in summary.items():
        score = quantities.get("score")
        table.add_row(
            label,
            _spread(score, 1) if score else "–",
            f"{score['iqm']:.1f}" if score else "–",
            _spread(quantities["return"], 1),
            f"{quantities['length']['mean']:.0f}",
            f"{quantities['context_length']['mean']:.1f}",
            f"{quantities['q_gain']['mean']:.3g}",
            f"{quantities['shift']['mean']:.3f}",
        )
    notes = ["± is the std over episodes"]
    if reference is not None:
        notes.insert(0, f"score: 0 = {reference.minimum:g}, 100 = {reference.maximum:g} ({reference.label})")
    table.caption = f"{'; '.join(notes)}\n{OF_A_STEP}"
    table.caption_justify = "left"
    return table


def refinement_in_words(config: dict[str, Any], rms: float) -> str:
    """The Action Gradient setting behind the "AG on" row."""
    ag = config["ag"]
    unit = "times the data's rms action gradient" if ag["eta_unit"] == "rms" else "raw"
    return (
        f"AG on: rule {ag['rule']}, eta {ag['eta']:g} ({unit}; rms {rms:.3g}), n_steps {ag['n_steps']}, Q = {ag['q']}"
    )


def print_summary(result: Any, config: dict[str, Any], console: Console) -> None:
    """The last evaluation's table and where everything is."""
    from dtag.training.checkpoint import read_checkpoint
    from dtag.training.experiment import chosen_rms

    if result.agent is not None:
        contents = read_checkpoint(result.agent, trust=True)
        if result.summary:
            info = DatasetInfo.from_dict(contents["spec"]["info"])
            title = f"{config['experiment']} · {info.id} · seed {config['seed']}"
            console.print(score_table(result.summary, reference_as_evaluated(info, config["eval"]), title))
            if config["ag"] is not None and contents["critic"] is not None:
                console.print(
                    refinement_in_words(config, chosen_rms(config, contents["action_gradient_rms"])),
                    highlight=False,
                )
        console.print(f"agent:  {result.agent}", highlight=False, soft_wrap=True)
    if result.critic is not None:
        console.print(f"critic: {result.critic}", highlight=False, soft_wrap=True)
    console.print(f"run:    {result.folder}", highlight=False, soft_wrap=True)


def _spread(cell: dict[str, float], digits: int) -> str:
    return f"{cell['mean']:.{digits}f} ± {cell['std']:.{digits}f}"
