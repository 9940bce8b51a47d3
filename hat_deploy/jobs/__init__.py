"""The folder run: every job done, skipped or listed; nothing lost, nothing done twice.

``pipeline`` decodes, computes and encodes side by side, ``journal`` knows what is done already,
``claims`` keeps runs apart, ``preview`` tells what a run would do.
"""

from hat_deploy.jobs.outcomes import (
    Done,
    Failed,
    OnProgress,
    Options,
    Outcome,
    Progress,
    Skipped,
)
from hat_deploy.jobs.pipeline import run, run_plan
from hat_deploy.jobs.single import upscale_one
from hat_deploy.sources import Job

__all__ = [
    "Done",
    "Failed",
    "Job",
    "OnProgress",
    "Options",
    "Outcome",
    "Progress",
    "Skipped",
    "run",
    "run_plan",
    "upscale_one",
]
