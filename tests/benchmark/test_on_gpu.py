"""The half hour on a GPU, tried on a CPU."""

import json

import on_gpu
import pytest


@pytest.mark.parametrize("check, figures", [
    ("synchronisation", {"steps_without_synchronisation": 2}),
    ("repetition", {"deterministic: weights equal": True, "resumed: weights equal": True, "resumed on the CPU": True})])
def test_checks(ucm, capsys, check, figures):
    on_gpu.main(["--dry", "--check", check, "--data_root", str(ucm), "--model", "Small", "--work-dir", str(ucm.parent / "runs")])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: found[name] for name in figures} == figures


def test_items_have_limits_and_are_not_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "RESULTS", tmp_path / "results")
    for again in (False, True):
        parity, failure, late = on_gpu.main(["--dry"])
        started = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if ": at most" in line]
        assert started == ["parity"] * (not again) + ["a failure", "out of time"]
        assert parity["status"] == "done" and parity["measured"]["largest_difference_of_scores"] == 0
        assert failure["status"] == "failed" and failure["output"] == ["this item fails"]
        assert late["status"] == "out of time" and late["seconds"] < 30
    written = json.loads((tmp_path / "results" / "parity.json").read_text())
    assert written["device"] and written["command"].startswith("python benchmark") and "git_commit" in written
    assert [result["status"] for result in on_gpu.main(["--dry", "--minutes", "0"])] == ["done", "not started", "not started"]


def test_without_a_gpu_there_is_nothing_to_measure():
    with pytest.raises(on_gpu.InputError, match="there is no GPU here; --dry"):
        on_gpu.main([])
