#!/usr/bin/env python3
"""Runs a sweep as an array of tasks on HyperQueue, one for each shard, then merges their answers.

    configs/sweep/hq_array.py JOB.json STORE SHARDS [--local] [-- OPTIONS OF sweep run...]

It needs `pip install -r configs/sweep/requirements.txt`. With --local it starts a server and workers of its own on this machine, and
ends them. Without, they must run already: `hq server start`, and `hq worker start` on every node or `hq alloc add slurm` (`hq` is
HyperQueue's program, of the same version); STORE must be a folder that all nodes see. A shard whose worker dies is asked again; running
this script again does only what is missing. DIADEM names the program (default: diadem).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hyperqueue import Client, Job
from hyperqueue.cluster import LocalCluster, WorkerConfig
from hyperqueue.task.task import ResourceRequest


def submit(client, program, arguments):
    store = Path(arguments.store).resolve()
    store.mkdir(parents=True, exist_ok=True)
    job = Job()
    for shard in range(1, arguments.shards + 1):
        job.program(
            [program, "sweep", "run", str(Path(arguments.job).resolve()), "--store", str(store),
             "--shard", f"{shard}/{arguments.shards}", "--threads", str(arguments.cpus), *arguments.options],
            env=dict(os.environ),
            stdout=str(store / f"shard-{shard}.out"),
            stderr=str(store / f"shard-{shard}.err"),
            name=f"shard {shard}",
            resources=ResourceRequest(cpus=arguments.cpus),
            crash_limit=5,
        )
    # A shard that ends with something left is a failed task: the merge below keeps what it has.
    return client.wait_for_jobs([client.submit(job)], raise_on_error=False)


def main():
    parser = argparse.ArgumentParser(description="Runs a sweep on HyperQueue.")
    parser.add_argument("job")
    parser.add_argument("store")
    parser.add_argument("shards", type=int)
    parser.add_argument("--cpus", type=int, default=1, help="cores of a shard")
    parser.add_argument("--local", action="store_true", help="on a server and workers of its own, on this machine")
    given = [*sys.argv[1:], "--"]
    own, options = given[: given.index("--")], given[given.index("--") + 1 : -1]
    arguments = parser.parse_args(own)
    arguments.options = options
    program = os.environ.get("DIADEM", "diadem")
    if arguments.local:
        with TemporaryDirectory() as folder, LocalCluster(folder, WorkerConfig()) as cluster:
            is_done = submit(cluster.client(), program, arguments)
    else:
        is_done = submit(Client(), program, arguments)
    merged = subprocess.run([program, "sweep", "merge", "--into", arguments.store, arguments.store], check=False)
    return merged.returncode if is_done else 3


if __name__ == "__main__":
    sys.exit(main())
