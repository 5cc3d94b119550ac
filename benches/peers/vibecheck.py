"""Whole verifications: `diadem verify` beside vibecheck-nn on ACAS Xu instances, taking turns; prints a table.

Either is a process of its own for each instance, so its wall and processor times have its start inside (vibecheck-nn imports torch).
"Warm" is vibecheck-nn called as a library by a process that has verified something already: its time without any start.
"""

import argparse
import csv
import json
import os
import resource
import select
import statistics
import subprocess
import sys
import time

OURS = {"verified": "unsat", "falsified": "sat", "unknown": "unknown"}


def timed(command, limit_s, environment):
    """Output, error output, wall and processor seconds of a command; `None` for output past its limit."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=environment)
        out, err = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        out, err = None, ""
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, err, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def diadem(program, threads, network, prop, limit_s):
    command = [program, "--device", "host", "--threads", str(threads), "--timeout-s", str(limit_s), "--json", "-"]
    out, _, wall, cpu = timed([*command, "verify", "--network", network, "--property", prop], limit_s + 30, None)
    if not out:
        return ("timeout" if out is None else "error"), wall, cpu
    result = json.loads(out)
    return ("timeout" if result["reason"] == "time limit" else OURS[result["verdict"]]), wall, cpu


def environment(threads):
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}


def vibecheck(program, threads, network, prop, limit_s):
    command = [program, "verify", prop, "--network", f"N={network}", "--timeout", str(limit_s)]
    out, err, wall, cpu = timed(command, limit_s + 30, environment(threads))
    # Without a word on stdout it failed; its last line says of what.
    verdict = "timeout" if out is None else (out.split() or ["error"])[0]
    if verdict == "error":
        print(f"{network}, {prop}: {err.strip().splitlines()[-1:]}", file=sys.stderr)
    return {"timed-out": "timeout"}.get(verdict, verdict), wall, cpu


class Warm:
    """A process that has vibecheck-nn loaded and has verified something already."""

    CODE = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from vibecheck import verify
for line in sys.stdin:
    network, prop, limit_s = json.loads(line)
    wall, cpu = time.perf_counter(), time.process_time()
    verdict = verify(net=network, spec=prop, timeout=limit_s).verdict
    print(json.dumps([verdict, time.perf_counter() - wall, time.process_time() - cpu]), file=answers, flush=True)
"""

    def __init__(self, threads):
        # Isolated: this very file must not pass for the package.
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", self.CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(threads),
        )

    def verify(self, network, prop, limit_s):
        """Verdict, wall and processor seconds; `None` when it does not answer."""
        print(json.dumps([network, prop, limit_s]), file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], limit_s + 30)[0]:
            return None
        line = self.process.stdout.readline()
        return tuple(json.loads(line)) if line else None

    def end(self):
        self.process.kill()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diadem", required=True)
    parser.add_argument("--vibecheck", default=os.path.join(os.path.dirname(sys.executable), "vibecheck"))
    data = os.environ.get("DIADEM_DATA", "../shared/data")
    parser.add_argument("--instances", default=os.path.join(data, "vnncomp/acasxu/instances.csv"))
    parser.add_argument("--every", type=int, default=9, help="take every n-th instance")
    parser.add_argument("--timeout-s", type=float, default=30, help="for each instance")
    parser.add_argument("--turns", type=int, default=2, help="runs of each instance, of which the mean counts")
    parser.add_argument("--threads", type=int, default=1, help="of either")
    options = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(options.instances))
    with open(options.instances) as file:
        rows = list(csv.DictReader(file))
    warm = Warm(options.threads)

    def warmed(_, threads, network, prop, limit_s):
        nonlocal warm
        answer = warm.verify(network, prop, limit_s)
        if answer is None:
            warm.end()
            warm = Warm(threads)
            warm.verify(*first, limit_s)
        return answer or ("no answer", limit_s + 30.0, 0.0)

    files = lambda row: [os.path.join(folder, row[key]) for key in ("onnx", "vnnlib")]
    first = files(rows[0])
    warm.verify(*first, options.timeout_s)
    version = subprocess.run([options.vibecheck, "--version"], capture_output=True, text=True).stdout.strip()
    print(f"vibecheck-nn {version}, {options.threads} threads, {options.timeout_s:g} s an instance, mean of {options.turns}")
    print("| instance | expected | diadem | wall s | processor s | vibecheck | wall s | processor s | warm | wall s | processor s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    verifiers = [(diadem, options.diadem), (vibecheck, options.vibecheck), (warmed, None)]
    is_decided = lambda verdict: verdict in ("sat", "unsat")
    table, contradictions = [], 0
    for row in rows[:: options.every]:
        runs = [[] for _ in verifiers]
        for _ in range(options.turns):
            for (verifier, program), found in zip(verifiers, runs):
                # One that runs into its limit would do so again.
                if not found or is_decided(found[0][0]):
                    found.append(verifier(program, options.threads, *files(row), options.timeout_s))
        cells, line = [], []
        for found in runs:
            verdict = "/".join(sorted({run[0] for run in found}))
            times = [statistics.mean(run[i] for run in found) for i in (1, 2)]
            line.append((verdict, *times))
            cells += [verdict, *(f"{t:.2f}" if t >= 1 else f"{t:.3f}" for t in times)]
            contradictions += any({run[0], row["expected"]} == {"sat", "unsat"} for run in found)
        table.append(line)
        name = row["onnx"].split("run2a_")[-1].split("_batch")[0] + ", " + row["vnnlib"].split("prop_")[-1].split(".")[0]
        print(f"| {name} | {row['expected']} | {' | '.join(cells)} |", flush=True)
    warm.end()
    decided = [sum(is_decided(line[i][0]) for line in table) for i in range(3)]
    common = [line for line in table if all(is_decided(cell[0]) for cell in line)]
    sums = [[sum(line[i][j] for line in common) for j in (1, 2)] for i in range(3)]
    print(f"| sum of the {len(common)} that all decide | | {' | '.join(f'{decided[i]} | {sums[i][0]:.2f} | {sums[i][1]:.2f}' for i in range(3))} |")
    if common:
        ratios = [f"{sums[i][j] / sums[0][j]:.0f}" for i in (1, 2) for j in (0, 1)]
        print(f"| over diadem's | | | | | | {ratios[0]} | {ratios[1]} | | {ratios[2]} | {ratios[3]} |")
    print(f"Verdicts that contradict the list's: {contradictions}.")


if __name__ == "__main__":
    main()
