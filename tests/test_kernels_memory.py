"""Freed memory is kept for the next step: page faults of a step are counted, in processes of their own."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

STEPS = """
import resource, statistics, sys, threading
import numpy as np
import tinygen as tg
from tinygen.kernels import compiled, memory

rng = np.random.default_rng(0)
net = tg.nn.Sequential(tg.nn.Linear(256, 1024, rng=rng), tg.gelu, tg.nn.Linear(1024, 256, rng=rng))
optimizer = tg.optim.Adam(net.parameters(), lr=1e-3)
x = rng.standard_normal((2048, 256), dtype=np.float32)  # 8 MB a hidden layer: 2,000 pages

@compiled.kernel
def fill(out: compiled.Writes[1]):
    for i in range(len(out)):
        out[i] = 1

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    optimizer.zero_grad()
    (net(x) ** 2).mean().backward()
    optimizer.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def train():
    fill(np.empty(1000, np.float32), work=0)
    steps = [faults() for _ in range(9)]
    print(memory.keep_freed_memory(), statistics.median(steps[3:]))

if sys.argv[1] == "main":
    train()
else:
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
"""


def train(thread="main", **environment):
    """(whether malloc was told, page faults of a training step)"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "TINYGEN_KEEP"))}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, thread],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    told, faults = done.stdout.split()
    return told == "True", float(faults)


glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc is told anything",
)


@glibc
@pytest.mark.parametrize("thread", ["main", "another"])
def test_a_training_step_reuses_the_memory_of_the_one_before(thread):
    told, faults = train(thread)
    assert told
    assert faults < 300  # of the 10,000 and more pages that it touches


@glibc
def test_without_it_each_step_gets_new_pages():
    """What the other test would miss if nothing were done."""
    told, faults = train(TINYGEN_KEEP_MEMORY="0")
    assert not told
    assert faults > 1000


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_who_tells_glibc_otherwise_is_left_alone(variable):
    value = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}[variable]
    assert not train(**{variable: value})[0]
