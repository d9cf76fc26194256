"""Policies that share one server among several jobs at a time, and so are no order of a queue.

All are made of three choices. *Order*: jobs that are on time stand in an order. *Lateness*: a job that outlives what
was predicted for it leaves that order and is late. *Sharing*: what the late jobs do among themselves, and whether the
first of those on time is served beside them.

Source: Dell'Amico, Carra, Michiardi, "PSBS: Practical Size-Based Scheduling", IEEE Transactions on Computers 65(7),
2016, and Dell'Amico, Carra, Pastorelli, Michiardi, "Revisiting Size-Based Scheduling with Estimated Job Sizes",
MASCOTS 2014.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn, get_args

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy

Order = Literal["none", "virtual", "remaining"]
Late = Literal["share", "first", "youngest"]


@dataclass(frozen=True)
class SharingPolicy(BasePolicy):
    """Who shares the server.

    Attributes:
        name: its name in the literature.
        order: of the jobs that are on time. "virtual" is the order in which they would end if the server were shared
            equally and every prediction were right; a job whose virtual end has passed is late. "remaining" is that of
            the least predicted remaining size; a job of which nothing is left is late. "none" needs no predictions:
            everybody is late from the beginning.
        late: "share", all late jobs at once; "first", one at a time, first late first served; "youngest", those of
            least attained service, who share equally.
        beside: whether the first job on time is served beside the late ones; otherwise they keep it waiting.
        weighted: whether shares, virtual ones too, are in proportion to `job.weight`; otherwise they are equal.
        predictor: the predictor that the policy brings along, or None.
        source: paper.

    Raises:
        BadInput: an unknown order or lateness, or weights for late jobs that do not all share.
    """

    kind: ClassVar[str] = "sharing policy"
    functions: ClassVar[tuple[str, ...]] = ()
    params: ClassVar[tuple[float, ...]] = ()  # type: ignore[misc]  # there are none
    prepare: ClassVar[Callable[..., Any] | None] = None  # type: ignore[misc]

    name: str
    order: Order
    late: Late = "share"
    beside: bool = False
    weighted: bool = False
    predictor: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for trait, known in (("order", Order), ("late", Late)):
            value = getattr(self, trait)
            if value not in get_args(known):
                raise BadInput(f"policy {self.name!r}: {trait}={value!r}; choose from: {', '.join(get_args(known))}")
        if self.weighted and self.late != "share":
            raise BadInput(f"policy {self.name!r}: weighted=True goes with late='share' alone, not {self.late!r}")

    @classmethod
    def from_function(cls, function: Any, **traits: Any) -> NoReturn:
        """Refuse a plain function, which is an order."""
        raise BadInput(f"{function!r:.80} is not a {cls.kind}: give a registered name or a {cls.__name__}")

    @property
    def uses_predictions(self) -> bool:
        """Whether predictions make a difference to it."""
        return self.order != "none"

    @property
    def insensitive(self) -> bool:
        """Whether it is processor sharing: of the law of sizes its mean response time depends on the mean alone."""
        return self.order == "none" and self.late == "share"
