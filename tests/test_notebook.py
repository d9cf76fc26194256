"""The notebook of a first agent: its cells run from top to bottom, at a budget that is small."""

import json
import re
from pathlib import Path

import pytest

from llmqueue_gym import _jit

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first_agent.ipynb"
SMALL = {"STEPS": 16, "PARTS": 2, "JOBS": 40}

if not NOTEBOOK.is_file():
    pytest.skip("docs/ is only in a checkout", allow_module_level=True)
CODE = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_it_was_run_from_top_to_bottom_and_says_what_came():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = [output["output_type"] for cell in CODE for output in cell["outputs"]]
    assert kinds.count("stream") == len(CODE) - 2 and kinds[-1] == "display_data" and "error" not in kinds
    costs = dict(
        re.findall(r"(\w+) +([\d.]+) s\n", "".join("".join(o.get("text", "")) for c in CODE for o in c["outputs"]))
    )
    assert float(costs["gittins"]) < float(costs["sprpt"]) < float(costs["fcfs"])


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_its_cells_run(capsys, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the extra `train`: pip install 'llmqueue-gym[train]'")
    sb3 = pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("Agg")
    first, *rest = ("".join(cell["source"]) for cell in CODE)
    for name, value in SMALL.items():
        first, found = re.subn(rf"(?m)^{name} = [\d_]+", f"{name} = {value}", first)
        assert found == 1
    threads, space = torch.get_num_threads(), {}
    monkeypatch.setattr(sb3, "PPO", lambda *told, **rest: _short(sb3.ppo.PPO, told, rest))
    try:
        for k, source in enumerate([first, *rest]):
            exec(compile(source, f"cell {k + 1}", "exec"), space)
    finally:
        torch.set_num_threads(threads)
        plt.close("all")
    said = capsys.readouterr().out
    assert said.count("decisions:") == SMALL["PARTS"] and space["by_hand"].keys() == {"fcfs", "sprpt", "gittins"}
    assert len(space["curve"]) == SMALL["PARTS"] and all(cost > 0 for _, cost in space["curve"])


def _short(algorithm, told, rest):
    """Return the algorithm with iterations of four decisions: its own are 2048 of each environment."""
    return algorithm(*told, n_steps=4, batch_size=8, **rest)
