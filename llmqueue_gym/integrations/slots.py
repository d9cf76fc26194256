"""A network for observations of slots, which any library that learns with torch can use.

What is said of a slot depends on the job there, on what all jobs have in common, and on nothing else: jobs that change
places change their outputs with them (Zaheer et al., "Deep Sets", NeurIPS 2017).
"""

from collections.abc import Mapping

import torch
from gymnasium.spaces import Dict
from torch import nn


class SlotsNet(nn.Module):
    """Scores of each slot, and a context, from the observation `Dict(jobs, system, action_mask)`.

    Attributes:
        slots: rows of `jobs`.
        features: numbers that come out.
    """

    def __init__(self, space: Dict, hidden: int = 32, outputs: int = 1):
        """Make the network.

        Args:
            space: of one observation.
            hidden: units of each layer, and length of the context.
            outputs: scores of each slot.
        """
        super().__init__()
        self.slots, columns = space["jobs"].shape  # type: ignore[misc]
        (system,) = space["system"].shape  # type: ignore[misc]
        self.features = self.slots * outputs + hidden
        self.job = nn.Linear(columns, hidden)
        self.pool = nn.Linear(2 * hidden + system, hidden)
        self.mix = nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, observation: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return score 0 of every slot, the next of every slot and so on, and the context `(B, features)`.

        The scores of an empty slot are 0.
        """
        jobs, system = observation["jobs"], log_scaled(observation["system"])
        present = (jobs != 0).any(-1, keepdim=True).to(jobs.dtype)  # an empty slot is a row of zeros
        each = torch.relu(self.job(log_scaled(jobs))) * present
        total, count = each.sum(-2), present.sum(-2)
        context = torch.relu(self.pool(torch.cat([total / count.clamp(min=1), total / self.slots, system], -1)))
        around = context[..., None, :].expand_as(each)
        scores = self.out(torch.relu(self.mix(torch.cat([each, around], -1)))) * present
        return torch.cat([scores.transpose(-1, -2).flatten(-2), context], -1)


def begin_with_scores(head: nn.Linear, slots: int) -> None:
    """Let what a layer on a `SlotsNet` says of action i begin as score 0 of slot i, and 0 beyond the slots.

    So slots are alike at first, and what is learned of one is learned of all; later the layer may tell them apart.
    """
    shared = min(head.out_features, slots)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.weight[:shared, :shared] = torch.eye(shared)


def log_scaled(x: torch.Tensor) -> torch.Tensor:
    """Return numbers of any scale on one of logarithms: 0 stays 0, 1 stays 1, and it is linear below 0.01."""
    return torch.sign(x) * torch.log1p(100 * x.abs()) / 4.615
