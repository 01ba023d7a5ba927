from __future__ import annotations

from dtag.cli.main import main
from dtag.cli.methods import methods
from dtag.config.load import shipped_folder


def test_every_shipped_method_is_listed_with_its_line_and_source(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    found = methods()
    assert len(found) == len(list((shipped_folder() / "methods").glob("*.yaml"))) >= 16
    for method in found:
        assert method.name in printed
        assert method.title in printed
        assert method.source.startswith("paper")
        assert method.source in printed
