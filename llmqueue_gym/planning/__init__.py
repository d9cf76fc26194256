"""Planning: which fleet to buy for a stream of requests and an objective."""

from llmqueue_gym.planning.menu import Kind, Menu, read_menu
from llmqueue_gym.planning.objective import Objective, objective
from llmqueue_gym.planning.plan import plan
from llmqueue_gym.planning.windows import Windows, windows_of_law, windows_of_trace

__all__ = [
    "Kind",
    "Menu",
    "Objective",
    "Windows",
    "objective",
    "plan",
    "read_menu",
    "windows_of_law",
    "windows_of_trace",
]
