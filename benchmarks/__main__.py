"""Speed beside peers, in one run: python -m benchmarks [NAMES...] [--help]

First what this machine can do at most, then each kernel at the shapes of real models, ours beside NumPy,
PyTorch and JAX as far as they are installed. Results are compared before anything is timed; cases.py says how
the timing is kept fair. A ratio is our time over that of the best peer: below 1 we are faster.

Exit code 1: results that are not equal, memory that is out of bounds, or with --compare a case that became
slower by more than the noise.
"""

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile

from . import measure

FAMILIES = ("matmul", "attention", "convolution", "rows", "elementwise", "adam", "steps", "generation")
NAMES = (*FAMILIES, "memory", "start", "example", "overhead")
PACKAGES = ("tinygen", "numpy", "numba", "torch", "jax", "jaxlib")


def main(argv=None):
    options = parsed(argv)
    measure.limit_threads(options.threads)  # before anything imports NumPy
    from tinygen.kernels import machine

    from . import cases, report

    effort = cases.Effort(2, 0.001, 0.0, 0.0) if options.quick else cases.Effort(rounds=options.rounds)
    limits = {"seconds": 0.05, "megabytes": 64} if options.quick else {"seconds": 2.0}
    results = {
        "environment": measure.environment(PACKAGES),
        "peaks": machine.peaks(options.threads, **limits),
        "families": {},
    }
    print(heading(results), flush=True)
    failed = False
    for name in options.names:
        try:
            records = measured(name, effort, options.quick)
        except (cases.Unequal, Failed, subprocess.CalledProcessError) as error:
            # What a child said has been seen, unless it was captured.
            print(f"\n{name}: {error}\n{getattr(error, 'stderr', None) or ''}".rstrip(), file=sys.stderr)
            failed = True
            continue
        if records:
            results["families"][name] = records
            if name != "overhead":  # which printed its own
                print("\n" + report.family_table(name, records, results["peaks"]), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    if options.plot:
        report.roofline(results, options.plot)
    if options.compare:
        slower = report.became_slower(options.compare, results)
        print("\n" + "\n".join(["became slower:", *slower] if slower else ["nothing became slower"]))
        failed = failed or bool(slower)
    return int(failed)


def parsed(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Speed beside peers, in one run."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=cores, help="of every library (default: all cores)")
    parser.add_argument("--rounds", type=int, default=20, help="turns of every library (default: 20)")
    parser.add_argument(
        "--quick", action="store_true", help="the smallest case of each kind: does it run, do all agree?"
    )
    parser.add_argument("--json", metavar="FILE", help="also write every figure of every round")
    parser.add_argument("--plot", metavar="FILE", help="also draw a roofline, with matplotlib")
    parser.add_argument(
        "--compare", metavar="OLD", help="a JSON of an earlier run: fail if something is slower"
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    if options.threads < 1 or options.rounds < 1:
        parser.error("--threads and --rounds: expected at least 1")
    if options.compare:
        try:
            with open(options.compare) as file:
                options.compare = json.load(file)
            options.compare["families"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"--compare: expected the --json of an earlier run, got {options.compare}: {error}")
    options.names = options.names or list(NAMES)
    return options


class Failed(Exception):
    """A part of the run that is not as it must be."""


def measured(name, effort, quick):
    """case -> record of one family."""
    if name == "overhead":
        return overhead(effort, quick)
    if name in ("start", "example"):
        return importlib.import_module(f".{name}", __package__).records(effort, quick)
    if name == "memory":
        return memory(quick)
    from . import cases

    every = cases.cases_of(name)
    places = smallest(every) if quick else range(len(every))
    with contextlib.ExitStack() as stack:
        benches = {
            library: stack.enter_context(contextlib.closing(cases.Worker(library)))
            for library in cases.installed()
            if any(case.serves(library) for case in every)
        }
        return {every[i].name.strip(): cases.measured(name, i, benches, effort) for i in places}


def smallest(every):
    """The places of the least case of each kind: of the least traffic, where work counts tokens."""
    kinds = dict.fromkeys(case.kind for case in every)
    return [min((c.traffic or c.work, i) for i, c in enumerate(every) if c.kind == kind)[1] for kind in kinds]


def memory(quick):
    """Attention over a long sequence must not keep its scores; and page faults with memory kept or not."""
    from . import attention, start

    for step in ("VAE",) if quick else ("VAE", "GPT"):
        found = [start.page_faults(step, TINYGEN_KEEP_MEMORY=keep) for keep in "01"]
        texts = [f"{faults:,} page faults and {1000 * seconds:.1f} ms" for faults, seconds in found]
        print(f"\na step of the {step}: {texts[0]}, where freed memory is kept {texts[1]}")
    if quick:
        return {}
    grown, inputs = attention.memory()
    tokens = attention.LONG[2]
    text = f"attention of {tokens} tokens, forward and backward: grew by {grown / inputs:.1f} x its inputs"
    if grown > attention.MOST_MEMORY * inputs:
        raise Failed(f"{text}, and at most {attention.MOST_MEMORY} x is right")
    print("\n" + text)
    return {}


def overhead(effort, quick):
    """In a process of its own, which has one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "overhead.json")
        command = [
            sys.executable,
            "-m",
            "benchmarks.overhead",
            "--json",
            path,
            "--rounds",
            str(effort.rounds),
        ]
        clean = {k: v for k, v in os.environ.items() if k not in measure.THREAD_VARIABLES}
        print(flush=True)
        done = subprocess.run([*command, *(["--quick"] if quick else [])], check=False, env=clean)
        if done.returncode:
            raise Failed("see above")
        with open(path) as file:
            return {row: {"unit": "", "seconds": times} for row, times in json.load(file)["seconds"].items()}


def heading(results):
    """The machine, the libraries, and the peaks."""
    e, p = results["environment"], results["peaks"]
    lines = [
        f"{e['machine']}, {e['cores']} cores, load {e['load']}; {e['system']}, Python {e['python']}",
        ", ".join(f"{name} {version}" for name, version in e["versions"].items()),
        f"{p['threads']} threads; most that was reached, with one and with all:",
    ]
    for name, unit in [("arithmetic", "GFLOP/s"), ("read", "GB/s"), ("triad", "GB/s")]:
        lines.append(f"  {name:<12}{p[name]['one']:6.1f}  {p[name]['all']:6.1f} {unit}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
