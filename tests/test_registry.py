"""The registry: what it builds from a spec, how it refuses a bad one, and that what it built prints as its spec."""

import inspect
from dataclasses import dataclass
from typing import Optional

import pytest

from llmqueue_gym.distributions import DISTRIBUTIONS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import PREDICTORS
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
from llmqueue_gym.registry import Registry, spec_of
from llmqueue_gym.workloads import ARRIVALS
from llmqueue_gym.workloads.requests import LENGTHS

REGISTRIES = (DISTRIBUTIONS, PREDICTORS, ARRIVALS, LENGTH_PREDICTORS, LENGTHS)
MORE = [
    (DISTRIBUTIONS, "weibull:shape=0.30000000000000004,mean=3"),
    (DISTRIBUTIONS, "erlang:k=2000000"),
    (DISTRIBUTIONS, "exponential:mean=1e-07"),
    (PREDICTORS, "lognormal:sigma=2"),
    (PREDICTORS, "one-bit:threshold=0.7,noise=multiplicative:low=0.5;high=3"),
    (PREDICTORS, "buckets:k=5,noise=one-bit:threshold=0.7;noise=exponential"),
    (ARRIVALS, "renewal:law=weibull:shape=0.5;mean=2"),
    (ARRIVALS, "mmpp:ratio=20,period=5"),
]


@dataclass(frozen=True)
class Machine:
    speed: float
    cores: int = 1
    cooled: bool = False
    fans: int | None = None
    limit: Optional[float] = None  # noqa: UP045
    label: str = ""

    def __str__(self):
        return spec_of(self, "machine", cores=1)


def postponed(speed: "float", cooled: "bool" = False, fans: "int | None" = 2, law: "Unknown | str" = ""):  # noqa: F821
    return speed, cooled, fans, law


MACHINES = Registry("machine", {"machine": f"{__name__}:Machine"})
MACHINES.register("postponed", postponed)
MACHINES.register("idle", lambda: None)


def test_a_registry_is_a_collection_of_names():
    assert list(MACHINES) == ["machine", "postponed", "idle"] and len(MACHINES) == 3
    assert "machine" in MACHINES and "engine" not in MACHINES
    with pytest.raises(BadInput, match="machine 'idle' is registered already"):
        MACHINES.register("idle", print)
    assert all(len(registry) == len(list(registry)) > 3 for registry in REGISTRIES)


@pytest.mark.parametrize(
    ("spec", "machine"),
    [
        ("machine:2", Machine(2.0)),  # a bare value goes to the first parameter
        ("machine:2,cores=3", Machine(2.0, 3)),
        ("machine:speed=1e3,cooled=true,fans=4", Machine(1000.0, 1, True, 4)),
        ("machine:speed=1,cooled=false,fans=none", Machine(1.0)),
        ("machine:speed=1,limit=5,label=5", Machine(1.0, 1, False, None, 5.0, "5")),
        ("postponed:0.5", (0.5, False, 2, "")),
        ("postponed:speed=1,cooled=true,fans=none,law=3", (1.0, True, None, "3")),
        ("idle", None),
    ],
)
def test_specs(spec, machine):
    assert MACHINES.make(spec) == machine


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("machin:1", "unknown machine 'machin'; did you mean 'machine'?"),
        ("xyz", "unknown machine 'xyz'; choose from: machine, postponed, idle"),
        ("machine", "machine 'machine' needs 'speed', as in machine:speed=..."),
        ("machine:cores=2", "machine 'machine' needs 'speed', as in machine:speed=..."),
        ("machine:speed=1,corse=2", "machine 'machine' has no parameter 'corse'; did you mean 'cores'?"),
        ("idle:speed=1", "machine 'idle' has no parameter 'speed'; it takes none"),
        ("machine:fast", "machine 'machine': speed='fast' is not a number"),
        ("machine:speed=1,cores=2.5", "machine 'machine': cores='2.5' is not a whole number"),
        ("machine:speed=1,cooled=1", "machine 'machine': cooled='1' is not true or false"),
        ("machine:speed=1,fans=few", "machine 'machine': fans='few' is not a whole number or none"),
        ("machine:speed=1,cores=2,speed=1", "machine 'machine' is given 'speed' twice; give it once"),
        ("postponed:speed=1,cooled=yes", "machine 'postponed': cooled='yes' is not true or false"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(BadInput) as caught:
        MACHINES.make(spec)
    assert str(caught.value) == message


def test_every_kind_of_value_is_printed():
    machine = Machine(1e6, 1, True)
    assert str(machine) == "machine:speed=1e+06,cooled=true,fans=none,limit=none"
    assert MACHINES.make(str(machine)) == machine
    # All digits that are needed, and a whole number as one, since 1e+07 is not read as such.
    assert str(Machine(0.1 + 0.2, 10**7)).startswith("machine:speed=0.30000000000000004,cores=10000000,")


def needs_a_file(builder):
    return any(p.default is p.empty for p in inspect.signature(builder).parameters.values())


PLAIN = [(registry, name) for registry in REGISTRIES for name in registry if not needs_a_file(registry.builder(name))]


@pytest.mark.parametrize(("registry", "spec"), [*PLAIN, *MORE])
def test_what_is_built_prints_as_its_spec(registry, spec):
    thing = registry.make(spec)
    assert str(thing).partition(":")[0] == spec.partition(":")[0]
    assert registry.make(str(thing)) == thing
    if ":" in spec:
        assert str(thing) == spec


def test_entries_with_a_file(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("output_tokens,predicted_tokens\n10,70\n30,90\n")
    model = PREDICTORS.make(f"pairs:{path}")
    assert str(model) == f"pairs:file={path}" and PREDICTORS.make(str(model)) == model
    assert str(PREDICTORS.make(f"one-bit:noise=pairs:{path}")) == f"one-bit:threshold=1,noise=pairs:file={path}"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,1,1\n1,1,1\n")
    process = ARRIVALS.make(f"replay:{path}")
    assert str(process) == f"replay:file={path},format=auto" and ARRIVALS.make(str(process)) == process
