"""What an agent sees of a system, what it decides and what it is paid: the fields that a scenario has not.

A system's view is a subclass, in the system's file, together with the columns of its observation, which are data:
a name and what it means, in the order in which the kernel writes them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems.varied import PARTS, Varied

if TYPE_CHECKING:
    from llmqueue_gym.systems.base import Drawn
    from llmqueue_gym.systems.scenario import Scenario


class Column(NamedTuple):
    """What a column of an observation is.

    Attributes:
        words: what its raw numbers are, with their unit.
        unit: what an agent sees them in, a key of `View.scales`; "" where it sees them as they are.
    """

    words: str
    unit: str = ""


class Group(NamedTuple):
    """Rows of an observation's `jobs` among which an action of the same kind chooses.

    Attributes:
        first: the first row.
        rows: how many.
        action: the action of the first row, that of the next is one more and so on; None where no action chooses there.
        shown: how many of them a learner sees, the most promising first; see `envs.learnable`.
        displaces: whether it sends somebody away from service, which a learner sees as open only where the policy that
            it departs from does so, too.
        clears: whether it sends somebody away who waits, which a learner sees as open only where others are beyond the
            rows.
    """

    first: int
    rows: int
    action: int | None = None
    shown: int = 8
    displaces: bool = False
    clears: bool = False


Columns = Mapping[str, Column]
Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (rows, true sizes) -> cost per second in system (n,)
FLAGS = ("present", "in_service", "running")  # columns of 0 and 1

# A reward is minus the integral of a cost per second that each job causes while it is in system. The undiscounted
# return of an episode is therefore minus the sum over jobs of cost times response time. Where the cost depends on the
# size it is all paid when the job leaves, because what accrues before would give the size away; a job that is lost pays
# nothing then.
RESPONSE_TIME: dict[str, Cost] = {
    "response_time": lambda jobs, sizes: np.ones(np.shape(sizes)),
    "weighted": lambda jobs, sizes: jobs["weight"],
}


MOST = 10**7  # of servers, slots and other counts; more hardly fit into any memory


@dataclass(frozen=True, kw_only=True)
class View:
    """What all views have.

    Attributes:
        reward: a name in `rewards`. It is paid in the unit of `reward_unit`.
        horizon: time at which an episode is truncated, s. The stretch of service that crosses it is finished first.
        max_episode_steps: decisions after which an episode is truncated; None for no such limit.
        scaled: whether observations and rewards come in the units of the scenario, see `units`, or in s, tokens and
            blocks.
        discount_time: s in which what is to come loses all but 1/e of its worth; a reward is discounted from the
            decision on, and `info["discount"]` is what the next one counts.
        relative_to: policy whose pay on the same jobs is taken off the reward, so that most of the chance in it
            cancels; see `systems.rival`. For training: the reward then tells of jobs that this policy has served, too.
        box_mask: whether the mask in the observation is a Box of 0 and 1, for libraries that know no MultiBinary.
        vary: fields of the scenario that differ from episode to episode, such as `{"load": (0.5, 0.95)}`; see
            `systems.varied`.
        part: of the scenarios that vary, "train" or "test", which share none.
    """

    jobs: ClassVar[Columns]  # columns of the observation's `jobs`
    system: ClassVar[Columns]  # and of its `system`
    actions: ClassVar[str]  # what an action is, in words
    waits: ClassVar[bool] = True  # whether it can pay to start nobody though somebody could start
    graded: ClassVar[bool] = False  # whether actions that are near by number mean nearly the same
    rewards: ClassVar[Mapping[str, Cost]] = RESPONSE_TIME | {"slowdown": lambda jobs, sizes: 1 / sizes}
    paid: ClassVar[Mapping[str, str]] = {"slowdown": ""}  # rewards that are paid when a job leaves, and their units
    missed: ClassVar[tuple[str, ...]] = ()  # of these, those that are paid once, by who leaves after its deadline

    reward: str = "response_time"
    horizon: float = np.inf
    max_episode_steps: int | None = None
    scaled: bool = True
    discount_time: float = np.inf
    relative_to: str = ""
    box_mask: bool = False
    vary: Mapping[str, Any] | None = None
    part: str = "train"

    def check(self, scenario: "Scenario") -> None:
        """Refuse what makes no sense in a scenario.

        Raises:
            BadInput: a value is out of range; the message names it.
        """
        check_positive(self, "horizon", "discount_time", infinite=True)
        check_flags(self, "scaled", "box_mask")
        if self.max_episode_steps is not None:
            check_counts(self, "max_episode_steps")
        if self.reward not in self.rewards:
            raise BadInput(f"unknown reward {self.reward!r}; {nearest(str(self.reward), self.rewards)}")
        if self.relative_to:
            self.policies(scenario)(self.relative_to)
        if self.part not in PARTS:
            raise BadInput(f"part={self.part!r}; {nearest(str(self.part), PARTS)}")
        if self.vary is not None:
            Varied(scenario, self.vary, self.part)

    @property
    def pays_leavers(self) -> bool:
        """Whether the reward is paid when a job leaves, and not while it is in system."""
        return self.reward in self.paid

    @property
    def counts_missed(self) -> bool:
        """Whether the reward is for missed deadlines, and not for time."""
        return self.reward in self.missed

    @property
    def own_rules(self) -> bool:
        """Whether jobs fare otherwise than in closed loop, so that a policy to compare with must play as an agent."""
        return False

    def policies(self, scenario: "Scenario") -> Any:
        """Return the table of the policies that decide what the agent does."""
        return scenario.system.policies

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`."""
        raise NotImplementedError

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the number of actions."""
        raise NotImplementedError

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return the rows of `jobs` by what is chosen among them; an agent's `preferences` are of the same form."""
        return (Group(0, self.n_slots(scenario), 0),)

    def spaces(self, scenario: "Scenario") -> tuple[spaces.Dict, spaces.Discrete]:
        """Return observation and action space of one environment."""
        n, names = self.n_actions(scenario), tuple(self.jobs)
        high = np.full((self.n_slots(scenario), len(names)), np.inf, np.float32)
        high[:, [names.index(flag) for flag in FLAGS if flag in names]] = 1.0
        return spaces.Dict(
            {
                "jobs": spaces.Box(np.zeros_like(high), high, dtype=np.float32),
                "system": spaces.Box(0.0, np.inf, (len(self.system),), np.float32),
                "action_mask": spaces.Box(0, 1, (n,), np.int8) if self.box_mask else spaces.MultiBinary(n),
            }
        ), spaces.Discrete(n)

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers."""
        return scenario.system.scales(scenario)

    def units(self, scenario: "Scenario") -> dict[str, np.ndarray]:
        """Return the unit of each column of `jobs` and of `system`: raw numbers are what is seen times this.

        They are powers of two, so that nothing is lost to rounding on the way there and back.
        """
        scales = {**self.scales(scenario), "": 1.0}
        return {
            part: np.array(
                [_power_of_two(scales[c.unit]) if self.scaled else 1.0 for c in columns.values()], np.float32
            )
            for part, columns in (("jobs", self.jobs), ("system", self.system))
        }

    def reward_unit(self, scenario: "Scenario") -> float:
        """Return what a reward of one is in raw numbers."""
        scales = {**self.scales(scenario), "": 1.0}
        return float(_power_of_two(scales[self.paid.get(self.reward, "s")])) if self.scaled else 1.0

    def costs(self, drawn: "Drawn") -> np.ndarray:
        """Return what each job costs `(n,)` per second in system, or for a missed deadline, the unit of the reward."""
        return self.rewards[self.reward](drawn.work, drawn.sizes)

    def arrivals(self, drawn: "Drawn") -> np.ndarray:
        """Return when each job comes `(n,)`, s."""
        came: np.ndarray = drawn.work["arrival"]
        return came

    def bill(self, drawn: "Drawn", left: np.ndarray) -> np.ndarray:
        """Return what each job costs in all `(n,)` that leaves at such a time `(n,)`, s; the reward is minus that."""
        if self.counts_missed:
            return self.costs(drawn) * (left > drawn.work["deadline"])
        return self.costs(drawn) * (left - self.arrivals(drawn))


@dataclass(frozen=True, kw_only=True)
class SlotView(View):
    """The first jobs in system, by order of arrival, one in each slot; the agent picks one of them.

    Attributes:
        slots: jobs that the agent can see and choose from.
    """

    jobs: ClassVar[Columns] = {  # one in service is among them
        "present": Column("1 where the slot holds a job"),
        "predicted": Column("predicted size, s", "s"),
        "age": Column("service received so far, s", "s"),
        "time_in_system": Column("since its arrival, s", "s"),
        "weight": Column("cost per second in system, 1 unless the workload says otherwise"),
        "in_service": Column("1 where it ran last and is not finished"),
    }
    system: ClassVar[Columns] = {
        "in_system": Column("number of jobs in system", "slots"),
        "unseen": Column("how many of them are beyond the last slot", "slots"),
        "since_decision": Column('since the last decision, as in info["dt"], s', "s"),
    }
    actions: ClassVar[str] = "the slot of the job to serve; an empty slot stands for slot 0, the earliest job"

    slots: int = 16

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_counts(self, "slots")

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers."""
        return {**super().scales(scenario), "slots": float(self.slots)}

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`."""
        return int(self.slots)

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the number of actions."""
        return int(self.slots)


def _power_of_two(x: Any) -> Any:
    """Return the power of two that is nearest to a positive number, on a scale of logarithms."""
    return np.exp2(np.rint(np.log2(x)))


def columns_of(observation: Mapping[str, np.ndarray], part: str, columns: Columns) -> dict[str, np.ndarray]:
    """Return the columns of a part of an observation by name, of one environment or of many."""
    return dict(zip(columns, np.moveaxis(observation[part], -1, 0), strict=True))


def check_counts(given: object, *names: str) -> None:
    """Raise BadInput unless each is a whole number of at least 1."""
    for name in names:
        value = getattr(given, name)
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{name}={value!r} must be a whole number of at least 1")
        if value > MOST:
            raise BadInput(f"{name}={value!r} must be at most {MOST}")


def check_positive(given: object, *names: str, infinite: bool = False) -> None:
    """Raise BadInput unless each is a positive number, and a finite one unless told otherwise."""
    for name in names:
        value = getattr(given, name)
        if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not value > 0:
            raise BadInput(f"{name}={value!r} must be a positive number")
        if value == np.inf and not infinite:
            raise BadInput(f"{name}={value!r} must be finite")


def check_between(given: object, least: float, most: float, *names: str, whole: bool = False) -> None:
    """Raise BadInput unless each is a number of a range, both ends included, and a whole one if told so."""
    for name in names:
        value, kind = getattr(given, name), (int, np.integer) if whole else (int, float, np.number)
        if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
            words = "a whole number" if whole else "a number"
            raise BadInput(f"{name}={value!r} must be {words} from {least:g} to {most:g}")


def check_flags(given: object, *names: str) -> None:
    """Raise BadInput unless each is True or False."""
    for name in names:
        value = getattr(given, name)
        if not isinstance(value, (bool, np.bool_)):
            raise BadInput(f"{name}={value!r} must be True or False")
