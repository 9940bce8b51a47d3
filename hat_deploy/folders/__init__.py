"""The folder run: every job done, skipped or listed; nothing lost, nothing done twice.

An image's way: ``inputs`` finds it, ``job_list`` names its result, ``stages`` decodes it in the
threads of ``workers``, ``engine_loop`` computes it, and ``writing`` gives the result its name;
``pipeline`` runs these side by side. ``clips`` does the clips after the images, and ``segments``
keeps what is encoded of one. ``journal`` knows what is done already, ``claims`` keeps
runs apart, ``preview`` tells what a run would do.
"""

from hat_deploy.folders.job_list import Job
from hat_deploy.folders.outcomes import (
    ClipProgress,
    Done,
    Failed,
    OnProgress,
    Options,
    Outcome,
    Progress,
    Skipped,
)
from hat_deploy.folders.pipeline import run, run_list
from hat_deploy.folders.single import upscale_one

__all__ = [
    "ClipProgress",
    "Done",
    "Failed",
    "Job",
    "OnProgress",
    "Options",
    "Outcome",
    "Progress",
    "Skipped",
    "run",
    "run_list",
    "upscale_one",
]
