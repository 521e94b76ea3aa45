"""Memory that is freed is kept for the next step, instead of being handed back to the system each time.

A training step allocates the same arrays as the step before it. But glibc gives large ones back as soon as
they are freed, and so every step gets fresh pages from the system: 4 KB at a time, each cleared, at 1 to 4 us
a fault. That is more than the arithmetic of elementwise work: x * 2 for 1 MB of float32 took 730 us with
faults and 50 us without (EPYC of Zen 3 in a virtual machine, one core). Page faults and time of a step:

    a transformer's block, 8 x 256 tokens of width 384      53,000   830 ms   ->   0   600 ms
    the same in another thread than the main one            22,000   730 ms   ->   0   690 ms
    a VAE, 784-400-20, batch 128                                 0    16 ms   ->   0    16 ms

`python -m benchmarks memory` counts them for two steps of its own: on a Zen 4, for the VAE's, 850 faults and
8.3 ms -> 0 and 3.7 ms. The most memory in use at once stayed the same (375 MB for the block). Three settings
of glibc's malloc do it, and none alone: trimming off gives the VAE 2,000 faults, the threshold alone 635,
since setting either ends the growth of both by which glibc adapts to a program.

- M_MMAP_THRESHOLD: arrays under it come from the heap, where they can be reused. 32 MB is the most that glibc
  takes. Arrays beyond are mapped and unmapped as ever; to take those from the heap too (M_MMAP_MAX = 0) made
  them 1.6 times as fast, but then a data set that is dropped would never return to the system.
- M_TRIM_THRESHOLD: the free end of the heap is given back only when it is longer than 2 GB.
- M_TOP_PAD: a heap is asked for 64 MB ahead, of addresses and not yet of memory. It matters in threads, whose
  heaps are made of pieces of 64 MB: glibc gives a piece back unless the one before it is that full, and a
  step had 14,000 faults without. One heap for all threads (M_ARENA_MAX = 1) does as well, but comes too late
  for a thread that is running.

TINYGEN_KEEP_MEMORY=0 switches it off, and whoever has told glibc by variables of its own is left alone.
Elsewhere (musl, macOS, Windows) nothing is done.
"""

import ctypes
import functools
import os
import sys

# From glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3

SETTINGS = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 << 20}


@functools.cache
def keep_freed_memory():
    """Tell malloc, once, to keep what is freed. True when it was told."""
    told = any([name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ])
    if os.environ.get("TINYGEN_KEEP_MEMORY") == "0" or told or not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return all([libc.mallopt(name, value) for name, value in SETTINGS.items()])
