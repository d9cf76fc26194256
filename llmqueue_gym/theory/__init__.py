"""Exact results for the M/G/1 with predictions: closed forms, SOAP for any rank function, the Gittins index."""

from llmqueue_gym.theory.analysis import Analysis, analyse
from llmqueue_gym.theory.gittins import gittins_of_samples, gittins_table
from llmqueue_gym.theory.joint import JointLaw

__all__ = ["Analysis", "JointLaw", "analyse", "gittins_of_samples", "gittins_table"]
