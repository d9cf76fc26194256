"""The benchmark over a Ray cluster: the same bytes as in this process, errors in a line, a word where Ray is not."""

import json
import logging
import sys
import warnings
from operator import truediv

import pytest

from llmqueue_gym.cli import main
from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench import bench
from llmqueue_gym.evaluation.bench.crew import gathered, progress

SMALL = {"track": "mg1", "seeds": 2, "jobs": 300}


def exponential(case):
    return case.jobs == ("synthetic", "exponential", 0.5) and case.predictor == "exponential"


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="needs Ray: pip install ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, about what its next version will do
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield ray
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_the_results_are_those_of_this_process_byte_for_byte(cluster, tmp_path):
    stored = []
    for name, told in (("here", {"workers": 1}), ("ray", {"backend": "ray"})):
        bench(out=tmp_path / name, only=exponential, **SMALL, **told)
        (track,) = json.loads((tmp_path / name / "bench.json").read_text())["tracks"].values()
        assert not [key for key in track if "second" in key]  # nothing that a clock says
        stored.append(json.dumps(track))
    assert stored[0] == stored[1]
    assert cluster.is_initialized()  # a cluster that was there before stays


@pytest.mark.filterwarnings("ignore")
def test_results_come_in_order_and_a_failure_is_what_the_task_raised(cluster):
    with gathered(1, "ray") as crew, progress(None) as bar:
        assert crew([(truediv, (k, 4)) for k in range(9)], bar, "divides") == [k / 4 for k in range(9)]
        with pytest.raises(BadInput) as caught:
            crew([(size_law, ("exponental",)), (truediv, (1, 2))], bar, "fails")
    assert "did you mean 'exponential'" in str(caught.value) and "\n" not in str(caught.value)


def test_without_ray_one_line_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"pip install ray$") as caught:
        bench(out=tmp_path, backend="ray", **SMALL)
    assert "\n" not in str(caught.value)
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--backend", "ray", "--track", "mg1", "--out", str(tmp_path)])
    assert ended.value.code and "pip install ray" in capsys.readouterr().err


def test_a_bad_backend_and_a_number_that_ray_does_not_take_are_refused(tmp_path):
    with pytest.raises(BadInput, match="did you mean 'ray'"):
        bench(out=tmp_path, backend="rya", **SMALL)
    with pytest.raises(BadInput, match="leave workers out"):
        bench(out=tmp_path, backend="ray", workers=2, **SMALL)
    with pytest.raises(BadInput, match="unknown backend"), gathered(1, "dask"):
        pass
