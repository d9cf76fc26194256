"""An instance of five jobs solved by hand, to check an engine, a policy or an environment against.

| job | arrival | size | fcfs | sjf | psjf | srpt |
|-----|---------|------|------|-----|------|------|
| A   | 0       | 6    | 6    | 6   | 14   | 14   |
| B   | 1       | 4    | 9    | 13  | 8    | 5    |
| C   | 2       | 1    | 9    | 5   | 1    | 1    |
| D   | 4       | 3    | 10   | 6   | 3    | 5    |
| E   | 16      | 2    | 2    | 2   | 2    | 2    |
| mean response time | | | 7.2  | 6.4 | 5.6  | 5.4  |

Who is served when, `.` being idle; no two jobs ever tie:

* fcfs: A 0-6, B 6-10, C 10-11, D 11-14, . 14-16, E 16-18
* sjf:  A 0-6, C 6-7, D 7-10, B 10-14, . 14-16, E 16-18
* psjf: A 0-1, B 1-2, C 2-3, B 3-4, D 4-7, B 7-9, A 9-14, . 14-16, E 16-18
* srpt: A 0-1, B 1-2, C 2-3, B 3-6, D 6-9, A 9-14, . 14-16, E 16-18 (at 4 B has 2 left and D needs 3)
"""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance, job_table

ARRIVALS = (0.0, 1.0, 2.0, 4.0, 16.0)  # s
SIZES = (6.0, 4.0, 1.0, 3.0, 2.0)  # s of service
RESPONSE_TIMES = {  # policy (clairvoyant) -> response time of each job, s
    "fcfs": (6.0, 9.0, 9.0, 10.0, 2.0),
    "sjf": (6.0, 13.0, 5.0, 6.0, 2.0),
    "psjf": (14.0, 8.0, 1.0, 3.0, 2.0),
    "srpt": (14.0, 5.0, 1.0, 5.0, 2.0),
}


@dataclass(frozen=True)
class Toy:
    """The five jobs above, whatever the streams."""

    def sample(self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator) -> Instance:
        """Return the first n jobs, all five where n is larger; nothing is random.

        Raises:
            BadInput: n is less than 1.
        """
        if n < 1:
            raise BadInput(f"n={n}: at least one job is needed")
        return Instance(job_table(np.array(ARRIVALS[:n])), np.array(SIZES[:n]))
