"""The keyword arguments of the serving environments, checked in one place for scalar and vector alike."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Discrete

from llmqueue_gym.engines.batching.rules import Rules, rule_set
from llmqueue_gym.engines.batching.tables import ADMISSION, EVICTION, RANKING
from llmqueue_gym.envs.arguments import check_counts, check_kinds, check_positive, check_reward, check_workload
from llmqueue_gym.envs.serving_observation import DECISIONS, action_space, observation_space
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.predictors.lengths import LengthPredictor, length_predictor
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import Requests
from llmqueue_gym.workloads.requests import RequestSamples, RequestWorkload, draw_requests

BITS = {"admission": ADMISSION, "eviction": ADMISSION | EVICTION, "ranking": RANKING}

# (requests, outputs) -> cost per second in system (n,); the reward is minus its integral.
REWARDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "response_time": lambda requests, outputs: np.ones(len(outputs)),
    "weighted": lambda requests, outputs: requests["weight"],
    "normalised_latency": lambda requests, outputs: 1 / outputs,
}


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """What is served, what is seen, what is decided and what is paid.

    Attributes:
        decides: what the agent owns: "admission", "eviction" (admission too) or "ranking".
        lengths: joint law of prompt and output lengths, or its spec such as `azure-conv`.
        rate: requests a second, Poisson. First come first served keeps up with 17.6 of the default ones.
        workload: anything with `sample(n, arrival_rng, length_rng)`, in place of lengths and rate.
        predictor: of output lengths, or its spec such as `lognormal:sigma=0.5`.
        profile: cost profile, or its spec such as `a100-llama3-8b:kv_tokens=12288`.
        rules: rule set for all other decisions, or its spec such as `vllm-v1:max_seqs=16`.
        n_requests: requests in an episode; fewer where the workload has fewer.
        window: waiting requests that the agent sees and can admit.
        seats: running requests that it sees and can preempt.
        levels: ranks that a ranking agent can give.
        reward: a name in `REWARDS`.
        horizon: time at which an episode is truncated, s.

    Raises:
        BadInput: a value is out of range; the message names it.
    """

    decides: str = "admission"
    lengths: Any = "lognormal:prompt=128,output=32"
    rate: float = 16.5
    workload: RequestSamples | None = None
    predictor: str | LengthPredictor = "lognormal:sigma=0.5"
    profile: str | Profile = "a100-llama3-8b:kv_tokens=1536"
    rules: str | Rules = "vllm-v1:max_seqs=8"
    n_requests: int = 500
    window: int = 8
    seats: int = 8
    levels: int = 16
    reward: str = "response_time"
    horizon: float = np.inf

    def __post_init__(self) -> None:
        if self.decides not in DECISIONS:
            raise BadInput(f"decides={self.decides!r}; {nearest(str(self.decides), DECISIONS)}")
        check_counts(self, "n_requests", "window", "seats", "levels")
        check_positive(self, "rate", "horizon")
        check_reward(self.reward, REWARDS)
        check_kinds(self, predictor=LengthPredictor, profile=Profile, rules=Rules)
        check_workload(self.workload, "n, arrival_rng, length_rng")
        if self.bound_rules.request_level and self.decides == "eviction":
            raise BadInput(f"rules {self.bound_rules.name!r} never let go of a batch: decides='eviction' needs others")
        _ = self.source, self.bound_predictor  # a bad spec is reported here and not in the first episode

    def spaces(self) -> tuple[Dict, Discrete]:
        """Return observation and action space of one environment."""
        sizes = (self.decides, int(self.window), int(self.seats), int(self.levels))
        return observation_space(*sizes), action_space(*sizes)

    @property
    def agent(self) -> int:
        """The agent's decisions as the kernels read them."""
        return BITS[self.decides]

    @cached_property
    def cost_profile(self) -> Profile:
        """The cost profile."""
        return cost_profile(self.profile)

    @cached_property
    def bound_rules(self) -> Rules:
        """The rule set on the profile's memory."""
        made = rule_set(self.rules)
        horizon = min(float(self.horizon), made.horizon)
        return replace(made, horizon=horizon).on(self.cost_profile.kv_tokens)

    @cached_property
    def source(self) -> RequestSamples:
        """What draws the requests; those too long for the replica are drawn anew."""
        if self.workload is not None:
            return self.workload
        return RequestWorkload(self.lengths, float(self.rate), max_tokens=self.bound_rules.longest)

    @cached_property
    def bound_predictor(self) -> LengthPredictor:
        """The predictor, fitted to the lengths."""
        return length_predictor(self.predictor).bind(self.source.output_sample())

    def draw(self, seed: int) -> Requests:
        """Return the requests, predictions included, and true output lengths of the episode of a seed.

        Raises:
            BadInput: the workload gives too many or none, or one that the replica can never serve.
        """
        given = draw_requests(self.source, self.bound_predictor, self.n_requests, seed)
        if not 1 <= len(given.outputs) <= self.n_requests:
            raise BadInput(f"the workload returned {len(given.outputs)} requests, not 1 to {self.n_requests}")
        self.bound_rules.check(given.requests, given.outputs)
        return given

    def cost(self, given: Requests) -> np.ndarray:
        """Return the cost per second in system of each request `(n,)`, the unit of the reward."""
        return REWARDS[self.reward](given.requests, given.outputs)
