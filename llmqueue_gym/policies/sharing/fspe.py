"""Fair sojourn protocol with estimates: one job at a time, in the order in which processor sharing would end them.

Processor sharing is imagined on the predicted sizes. With right predictions no job ends later than under processor
sharing (Friedman and Henderson 2003). A job that was predicted too short is late once its virtual end has passed, and
late jobs keep all others waiting; variants differ in what late jobs do (below).

If predictions are too long on average the virtual queue can be overloaded where the real one is not: lognormal errors
of sigma 0.5 have a mean of 1.13, so from load 0.88 on. Then its clock all but stands still, nobody gets late any more,
and all of these become `pspjf`, which goes by the prediction alone.

Late jobs are served so:

* `fspe`: one after the other, first late first served;
* `fspe-ps`: they share the server equally; `psbs` is the same with weights;
* `fspe-las`: those of least attained service first;
* `fspe-dc`: they share with the first job that is on time, so that nobody blocks;
* `fspe-dc-las`: those of least attained service share with the first job that is on time.
"""

from llmqueue_gym.policies.sharing.base import SharingPolicy

_SOURCE = "Dell'Amico, Carra, Pastorelli, Michiardi, MASCOTS 2014"


def fspe() -> SharingPolicy:
    """Fair sojourn protocol with estimates, late jobs one after the other."""
    return SharingPolicy("fspe", "virtual", "first", source=_SOURCE)


def fsp() -> SharingPolicy:
    """Fair sojourn protocol: fspe that is told the true size."""
    return fspe().with_exact_sizes("fsp")


def fspe_ps() -> SharingPolicy:
    """Fair sojourn protocol with estimates, late jobs share."""
    return SharingPolicy("fspe-ps", "virtual", source=_SOURCE)


def fspe_las() -> SharingPolicy:
    """Fair sojourn protocol with estimates, late jobs by least attained service."""
    return SharingPolicy("fspe-las", "virtual", "youngest", source=_SOURCE)


def fspe_dc() -> SharingPolicy:
    """Fair sojourn protocol with estimates, late jobs share with the first job on time."""
    return SharingPolicy("fspe-dc", "virtual", beside=True, source=_SOURCE)


def fspe_dc_las() -> SharingPolicy:
    """Fair sojourn protocol with estimates, the youngest late jobs share with the first job on time."""
    return SharingPolicy("fspe-dc-las", "virtual", "youngest", beside=True, source=_SOURCE)
