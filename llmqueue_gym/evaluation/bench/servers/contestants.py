"""Who plays in each block, and what each is told of the sizes.

`gittins` knows the laws of sizes and predictions, and `two-class` among impatient jobs plays at the best threshold of
the fluid limit and at shares of it, which few servers need. Elsewhere a threshold is the mean size. `srpt`, `psjf`,
`sjf` and the packing policies by SRPT are told the true sizes, and so is a dispatcher beside `srpt`.

Among impatient jobs nobody preempts: a job that has begun waits for ever, so a policy that begins with everybody would
lose nobody. The trained policies of the zoo play in the block whose decision they take; of the orders of one queue
those whose rank may rise are left out, as each would take a minute.
"""

from dataclasses import dataclass, replace

from llmqueue_gym.evaluation.bench.information import NOTHING, PREDICTION, TRUTH
from llmqueue_gym.evaluation.bench.servers.bounds import fluid_sjf
from llmqueue_gym.evaluation.bench.servers.cases import CENTRAL, DISPATCH, IMPATIENCE, Case
from llmqueue_gym.policies import Policy, policy
from llmqueue_gym.policies.dispatch import DispatchPolicy, dispatch_policy
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.packing import PACKING, PackingPolicy, packing_policy

ORDERS = ("fcfs", "sprpt")
SAMPLING = ("random", "round-robin", "power-of-d", "least-work", "least-work-left", "one-bit-count")  # at most two
SEEING = ("join-shortest-queue", "join-idle-queue", "least-work-left:d=0", "size-interval")  # all queues
FACTORS = (1.0, 0.5, 0.25)  # thresholds of two classes, over the best one of the fluid limit
TOLD_TRUTH = ("power-of-d", "least-work-left", "join-shortest-queue", "least-work-left:d=0")


@dataclass(frozen=True)
class Contestant:
    """A policy, or a dispatcher and the order in its queues.

    Attributes:
        name: in the block.
        policy: the order, or the packing.
        dispatcher: which queue an arrival joins, or None where there is one for all.
    """

    name: str
    policy: Policy | PackingPolicy
    dispatcher: DispatchPolicy | None = None

    @property
    def sees(self) -> str:
        """What it is told of the sizes."""
        if self.policy.predictor == "exact":
            return TRUTH
        told = self.policy.uses_predictions if isinstance(self.policy, PackingPolicy) else _reads(self.policy)
        by = self.dispatcher is not None and self.dispatcher.predictive
        return PREDICTION if told or by else NOTHING

    @property
    def looks(self) -> str:
        """At how many queues a dispatcher looks; empty where there is none."""
        if self.dispatcher is None:
            return ""
        return "all" if self.dispatcher.looks == "all" else str(self.dispatcher.d)


def last_come(job, params):
    """Rank the last to come first."""
    return -job.arrival


def contestants(cases: list[Case]) -> list[list[Contestant]]:
    """Return who plays in each of several cases of one block, size law and predictor, the base among them."""
    return [_MADE.get(case.block, _needs)(case) for case in cases]


def _central(case: Case) -> list[Contestant]:
    names = ("fcfs", "lcfs", "las", "spjf", "pspjf", "sprpt", "gittins", "limited-preemption")
    classes = ("two-class", "one-bit-fcfs")
    trained = [name for name in stored("order") if policy(name).shape != "general"]
    team = [_prepared(case, name) for name in (*names, *classes, *trained, "psjf", "srpt")]
    return [Contestant(made.name, made) for made in team]


def _dispatch(case: Case) -> list[Contestant]:
    team = []
    for pairs, orders in (((*SAMPLING, *SEEING, *stored("dispatch")), ORDERS), (TOLD_TRUTH, ("srpt",))):
        for spec in pairs:
            sender = dispatch_policy(spec)
            if sender.prepare is not None:
                laws = case.cluster.law, case.cluster.bound_predictor(), case.cluster.server_speeds
                sender = replace(sender, params=tuple(sender.numbers(*laws).tolist()), prepare=None)
            name = spec.replace(":d=0", " of all")
            team += [Contestant(f"{name}, {order}", policy(order), sender) for order in orders]
    return team


def _impatience(case: Case) -> list[Contestant]:
    best = fluid_sjf(case.size, case.predictor, case.load).threshold
    lcfs = Policy("lcfs", last_come, preemptive=False, shape="constant", source="Kleinrock, Queueing Systems II, 1976")
    names = ("fcfs", "edf", "spjf", *stored("cluster-order"), "sjf")
    team = [Contestant(made.name, made) for made in (*map(policy, names), lcfs)]
    classes = [Contestant(f"two-class x {f:g}", policy(f"two-class:threshold={f * best!r}")) for f in FACTORS]
    return [*team, *classes]


def _needs(case: Case) -> list[Contestant]:
    names = [name for name in PACKING if name != "msfq"]  # which is for needs of one or all servers
    return [Contestant(name, packing_policy(name)) for name in names]


_MADE = {CENTRAL: _central, DISPATCH: _dispatch, IMPATIENCE: _impatience}


def _prepared(case: Case, name: str) -> Policy:
    made = policy(name)
    if made.prepare is None:
        return made
    params = made.params_for(case.cluster.law, case.cluster.bound_predictor(made))
    return replace(made, params=tuple(params.tolist()), prepare=None)


def _reads(made: Policy) -> bool:
    return "predicted" in made.reads()
