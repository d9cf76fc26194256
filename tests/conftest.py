"""What the tests share."""

import json
import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _capacities(tmp_path_factory):
    """Look for what a replica sustains once in a session, whoever asks, and leave the user's cache alone."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMQUEUE_CACHE", str(shared / "capacities"))
        yield


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns exit status, stdout and stderr."""
    from llmqueue_gym.cli import main

    def call(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def run_json(run):
    """Run the command line with --json; returns what it printed, which is all that it printed."""

    def call(command, *args):
        status, out, err = run(*command.split(), *args, "--json")
        assert (status, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    return call


@pytest.fixture
def refused(run):
    """Run the command line; returns the one line with which it refuses, exit status 2, nothing on stdout."""

    def call(command, *args):
        status, out, err = run(*command.split(), *args)
        assert (status, out) == (2, "")
        assert err.startswith("llmqueue: error: ") and err.count("\n") == 1 and err.endswith("\n")
        return err

    return call


@pytest.fixture
def entry(tmp_path):
    """Write the folder of an entry from outside; what is None is left out, and other files are added."""
    card = {"name": "mine", "board": "mg1", "description": "by hand", "command": "written by hand"}

    def write(code="def policy(job, params):\n    return job.predicted - 0.5 * job.age\n", files=(), **changes):
        folder = tmp_path / "entry"
        folder.mkdir(exist_ok=True)
        told = {key: value for key, value in {**card, **changes}.items() if value is not None}
        (folder / "card.json").write_text(json.dumps(told))
        if code is not None:
            (folder / "policy.py").write_bytes(code if isinstance(code, bytes) else code.encode())
        for name, content in dict(files).items():
            (folder / name).write_bytes(content)
        return folder

    return write


SMALL_BOARDS = """
title = "Small boards"

[boards.mg1]
title = "One server: who is served"
short = "One server"
system = "mg1"
seeds = 3

[boards.mg1.scenarios]
a = {n_jobs = 1500}
b = {size = "weibull:shape=0.5", n_jobs = 1500}

[boards.mg1.episode]
note = "20 jobs."
seed = 1
scenario = {load = 0.9, n_jobs = 20}
view = {slots = 20, quantum = 0.1}

[boards.central]
title = "Servers that share a queue: who is served"
system = "central"
seeds = 3

[boards.central.scenarios]
a = {servers = 3, n_jobs = 1500}

[boards.central.episode]
note = "40 jobs on 4 servers."
seed = 5
scenario = {servers = 4, load = 0.95, n_jobs = 40}
view = {slots = 40}

[boards.dispatch]
title = "A queue each: which of two to join"
system = "dispatch"
seeds = 3
view = {sees = 2}
players = {looks = ["sample", "turn"], d = {most = 2}}
rule = "a policy looks at no more than 2 queues"

[boards.dispatch.scenarios]
a = {servers = 5, n_jobs = 1500}

[boards.impatient]
title = "Jobs that give up: who is served"
system = "central"
seeds = 3
view = {preemptive = false}
players = {preemptive = false}
leave_out = ["classes"]

[boards.impatient.scenarios]
a = {servers = 3, load = 1.4, patience = "exponential", n_jobs = 1500}

[boards.packing]
title = "Jobs that need several servers: who is served"
system = "packing"
seeds = 3
leave_out = ["msfq"]

[boards.packing.scenarios]
a = {load = 0.5, n_jobs = 1500}

[boards.llm]
title = "One GPU: who joins"
short = "One GPU"
system = "replica"
seeds = 3
beside = ["fcfs", "sjf"]

[boards.llm.scenarios]
a = {size = "lognormal:prompt=128,output=32", rate = 20, n_jobs = 200, cut_off = 10}

[boards.llm.episode]
note = "30 requests in little memory."
seed = 7
[boards.llm.episode.scenario]
size = "lognormal:prompt=128,output=64"
profile = "a100-llama3-8b:kv_tokens=1536"
rules = "vllm-v1:max_seqs=8"
max_tokens = 768
rate = 20
n_jobs = 30
"""


@pytest.fixture(scope="session")
def small_boards(tmp_path_factory):
    """A file of boards with little to play."""
    path = tmp_path_factory.mktemp("boards") / "small.toml"
    path.write_text(SMALL_BOARDS, encoding="utf-8")
    return path


@pytest.fixture
def small(small_boards):
    """The boards of `small_boards`, read."""
    from llmqueue_gym.boards import load_boards

    return load_boards(small_boards)


RANKS = """print("not for stdout")


def shortest(job, params):
    return job.predicted


def cheat(job, params):
    return job.size


def wrong(job, params):
    return job.age + "x"


def void(job, params):
    return (job.age - job.age) / (job.age - job.age)


def three(job, params, more):
    return 0.0
"""


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder of ranks and traces, some of them broken."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "ranks.py").write_text(RANKS)
    (folder / "broken.py").write_text("def (")
    (folder / "leaves.py").write_text("raise SystemExit(0)")
    header = "arrival_s,prompt_tokens,output_tokens\n"
    (folder / "trace.csv").write_text(header + "0,10,300\n50,10,200\n100,10,50\n400,10,250\n")
    (folder / "nan.csv").write_text(header + "0,10,300\nnan,10,200\n")
    (folder / "empty.csv").write_text("")
    (folder / "patience.csv").write_text("output_tokens\n0\n1\n2\n")
    return folder


@pytest.fixture
def proxied(tmp_path):
    """Return what makes an exported proxy before a server without a model, of which all are ended."""
    from proxied import Proxied

    made = []

    def make(*given, **named):
        made.append(Proxied(tmp_path, *given, **named))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def proxy_modules(tmp_path_factory):
    """Return the modules of an exported proxy by name."""
    from proxied import modules_of

    from llmqueue_gym.export import export

    return modules_of(export("ssjf:longest_wait=10", "priority-proxy", tmp_path_factory.mktemp("made") / "out"))


@pytest.fixture
def load(monkeypatch):
    """Return what runs an exported scheduler beside stubs of vLLM."""
    from vllm_stubs import beside_stubs

    return beside_stubs(monkeypatch)
