"""GPUs: memory, speed, power, price, and the carbon of making them.

Peaks, bandwidths and watts of the board are those of the makers' data sheets, without sparsity: NVIDIA A100, H100, H200
and L40S, DGX B200 (an eighth of the machine), AMD Instinct MI300X. Watts by phase were published for two of them alone.
"""

from dataclasses import dataclass
from typing import Any

GIB, MIB = 2**30, 2**20
_LAMBDA = "on-demand list price of 8-GPU instances at Lambda, lambda.ai/instances, read on 2026-09-20"
_SPLITWISE = "splitwise-sim 8f99e7d, configs/power_model/constant.yaml"
_ESTIMATED = (
    "estimated: idle as nvidia-smi shows it of empty GPUs, prompts at the board's {board:g} W, decodes at 380/700 "
    "of it, as splitwise-sim has them of an H100"
)

# LLMCarbon (Faiz et al., ICLR 2024; SotaroKaneda/MLCarbon dbd96b7, data/hardware.csv): kg of CO2e to make a cm2 of chip
# and a GB of memory. It has 4 nm (H100) and 7 nm (TPUv4); 5 nm is taken as 4 nm here, and 6 nm as 7 nm.
NM4, NM7, DRAM = 1.8, 1.6, 0.4
# Makers' own sums are larger: NVIDIA's Product Carbon Footprint summaries have 1,312 kg for a board of eight H100 and
# 2,274 kg for one of eight B200.
EMBODIED = (
    "by LLMCarbon, chips at 1.6 (7 and 6 nm) or 1.8 (5 and 4 nm) kg/cm2 and 0.4 kg a GB of memory, and nothing else of "
    "the machine; NVIDIA's own sum for an H100 on its board is 164 kg"
)


@dataclass(frozen=True)
class GPU:
    """One GPU.

    Attributes:
        name: as in the profiles.
        memory_bytes: what it is sold as for A100 and H100 (80 GiB, as in splitwise-sim) and MI300X, else what
            nvidia-smi shows.
        idle: W doing nothing.
        prefill: W in iterations with prompts.
        decode: W in iterations without.
        price: USD an hour.
        flops: most 16-bit operations a second, dense.
        flops8: most 8-bit ones, dense; 0 where it has none.
        bandwidth: of its memory, bytes/s.
        link: to the other GPUs of a replica, bytes/s each way.
        chips: area and kg of CO2e a cm2 of each kind of chip, cm2.
        memory_gb: as sold, for the carbon of making it.
        power_source: where the watts come from.
        price_source: where the price comes from.
    """

    name: str
    memory_bytes: float
    idle: float
    prefill: float
    decode: float
    price: float
    flops: float
    flops8: float
    bandwidth: float
    link: float
    chips: tuple[tuple[float, float], ...]
    memory_gb: float
    power_source: str = _SPLITWISE
    price_source: str = _LAMBDA

    @property
    def embodied_kg(self) -> float:
        """CO2e of making it, kg; see `EMBODIED`."""
        return sum(area * each for area, each in self.chips) + DRAM * self.memory_gb

    def replica(self, count: int) -> dict[str, Any]:
        """Return the fields of a `Profile` that follow from so many of this GPU alone, as `Profile.from_dict` reads."""
        watts = f"{self.idle:g}/{self.prefill:g}/{self.decode:g} W idle/prompt/token for each GPU, whatever the batch"
        return {
            "gpu": f"{count}x {self.name}",
            "memory_gb": count * self.memory_bytes / 1e9,
            "power": {
                "idle": count * self.idle,
                "prefill": count * self.prefill,
                "decode": count * self.decode,
                "source": f"{self.power_source}: {watts}",
            },
            "price_per_hour": count * self.price,
            "price_source": f"{self.price_source}: {self.price} USD for each GPU; prices change, so rescale",
            "embodied_kg": count * self.embodied_kg,
            "embodied_source": f"{EMBODIED}; {self.embodied_kg:.3g} kg a GPU",
        }


def _estimated(board: float, idle: float) -> dict[str, Any]:
    """Return the watts of a GPU of which no measurement by phase is known."""
    watts = {"idle": idle, "prefill": board, "decode": round(board * 380 / 700)}
    return {**watts, "power_source": _ESTIMATED.format(board=board)}


A100 = GPU(
    "A100-80GB",
    80 * GIB,
    idle=63.0,
    prefill=400.0,
    decode=250.0,
    price=2.79,
    flops=312e12,
    flops8=0.0,
    bandwidth=2.039e12,
    link=300e9,
    chips=((8.26, NM7),),
    memory_gb=80,
)
H100 = GPU(
    "H100-80GB",
    80 * GIB,
    idle=75.0,
    prefill=700.0,
    decode=380.0,
    price=3.99,
    flops=989.5e12,
    flops8=1979e12,
    bandwidth=3.35e12,
    link=450e9,
    chips=((8.14, NM4),),
    memory_gb=80,
)
H200 = GPU(
    "H200-141GB",
    143_771 * MIB,
    **_estimated(700.0, 75.0),
    price=3.99,
    flops=989.5e12,
    flops8=1979e12,
    bandwidth=4.8e12,
    link=450e9,
    chips=((8.14, NM4),),
    memory_gb=141,
    price_source="on-demand list price at Hyperstack, hyperstack.cloud/gpu-pricing, read on 2026-08-26",
)
B200 = GPU(  # two chips about as large as a mask allows; NVIDIA does not state their area
    "B200-180GB",
    183_359 * MIB,
    **_estimated(1000.0, 140.0),
    price=6.69,
    flops=2250e12,
    flops8=4500e12,
    bandwidth=8.0e12,
    link=900e9,
    chips=((16.3, NM4),),
    memory_gb=180,
)
MI300X = GPU(  # eight chips that compute, 1.15 cm2 each in 5 nm, on four of 3.7 cm2 in 6 nm
    "MI300X-192GB",
    192 * GIB,
    **_estimated(750.0, 140.0),
    price=2.59,
    flops=1307.4e12,
    flops8=2614.9e12,
    bandwidth=5.3e12,
    link=448e9,
    chips=((9.2, NM4), (14.8, NM7)),
    memory_gb=192,
    price_source="list price at DigitalOcean, gpu-mi300x1-192gb, read on 2026-10-07",
)
L40S = GPU(
    "L40S-48GB",
    46_068 * MIB,
    **_estimated(350.0, 33.0),
    price=0.79,
    flops=362.05e12,
    flops8=733e12,
    bandwidth=0.864e12,
    link=32e9,
    chips=((6.09, NM4),),
    memory_gb=48,
    price_source="lowest price at RunPod as deploybase.ai tells it, March 2026",
)

GPUS = {gpu.name: gpu for gpu in (A100, H100, H200, B200, MI300X, L40S)}
