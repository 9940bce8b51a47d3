"""One share of a run from a bucket to a bucket, as a process that can be killed.

python tests/places/share.py SHARD SOURCE RESULTS
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fakes import IdentityEngine

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.folders.job_stream import share_of, stream_jobs
from hat_deploy.folders.places.remote import located
from hat_deploy.folders.shards import parse

if __name__ == "__main__":
    shard = parse(sys.argv[1], {})
    source, results = map(located, sys.argv[2:])
    listed = share_of(stream_jobs([source], mark="", output=results, recursive=True), shard)
    options = folders.Options(shard=shard)
    with closing(folders.run_list(listed, Upscaler(IdentityEngine()), options)) as outcomes:
        for outcome in outcomes:
            print(type(outcome).__name__, flush=True)
            assert not isinstance(outcome, folders.Failed), outcome
