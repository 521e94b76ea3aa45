"""How speed is measured here: interleaved rounds, medians, and ratios taken within a round.

A machine slows down and speeds up while a benchmark runs, and slows every candidate alike. So the candidates
take turns, round after round, and a ratio is the median of the ratios of each round: both sides of each saw
the same weather. The order within a round changes, so that nobody always runs behind the same neighbour. The
garbage collector stays on, as in use.
"""

import importlib.metadata
import os
import platform
import random
import statistics
import sys
import time

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def limit_threads(count):
    """Give every library's pool `count` threads, through the variables that they read once, at import.

    Raises:
        RuntimeError: NumPy is already imported, so that it would not notice.
    """
    if "numpy" in sys.modules:
        raise RuntimeError("limit_threads: expected to run before NumPy is imported; call it first")
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    if count == 1:  # XLA has no variable for any other count
        one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {one}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def environment(packages):
    """What a reader needs to judge a figure: machine, Python, threads, and the version of each package."""
    return {
        "machine": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "versions": {name: version for name in packages if (version := installed(name))},
    }


def cpu_name():
    """The processor's name as Linux gives it; elsewhere what Python knows."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def installed(package):
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def repeats_for(sample, *, most, seconds):
    """How often to repeat a statement in one sample: `most`, or fewer where that takes longer than `seconds`.

    Args:
        sample: a function from a number of repeats to the seconds that they took together.
    """
    sample(1)  # compiles what is compiled, fills what is cached
    repeats = 1
    while repeats < most:
        took = sample(repeats)
        if took * 2 > seconds:
            return max(1, min(most, int(repeats * seconds / took)))
        repeats = min(2 * repeats, most)
    return most


def interleave(samples, *, rounds, seed=0):
    """Call every sample once a round, in an order that changes, and collect what each returned.

    Args:
        samples: name -> a function without arguments that measures itself and returns a number (seconds).

    Returns:
        name -> a list of `rounds` numbers; the numbers at one index belong to one round.
    """
    order, shuffle = list(samples), random.Random(seed).shuffle
    found = {name: [] for name in samples}
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            found[name].append(samples[name]())
    return found


def ratios(times, base):
    """A candidate's time over the base's, taken round by round: (lower quartile, median, upper quartile).

    Args:
        times, base: two lists of `interleave`, of one length.
    """
    each = [mine / theirs for mine, theirs in zip(times, base, strict=True)]
    if len(each) < 2:
        return each[0], each[0], each[0]
    return tuple(statistics.quantiles(each, n=4, method="inclusive"))


def timed(statement, repeats):
    """Seconds that `repeats` calls of `statement` took together."""
    start = time.perf_counter()
    for _ in range(repeats):
        statement()
    return time.perf_counter() - start


def table(rows, header):
    """Rows of text as aligned columns: the first to the left, the others to the right."""
    rows = [header, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if column else cell.ljust(w) for column, (cell, w) in enumerate(zip(row, widths))
        )
        for row in rows
    )
