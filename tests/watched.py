"""What a computation leaves behind: the dtype of every array made from another, its graph, its cycles.

An array that is watched notes it: temporaries inside of operations included.
"""

import gc

import numpy as np

seen = set()  # names of dtypes


class Watched(np.ndarray):
    def __array_finalize__(self, source):
        seen.add(self.dtype.name)


def watched(array):
    """The same numbers, watched."""
    return array.view(Watched)


def collected(step, times=1):
    """What the cycle collector finds after so many steps, and counting references should have freed."""
    step()  # caches fill the first time
    gc.collect()
    gc.disable()
    try:
        for _ in range(times):
            step()
        return gc.collect()
    finally:
        gc.enable()


def below(node):
    """The node, and all nodes that lead to it."""
    nodes, stack = {node}, [node]
    while stack:
        for parent in stack.pop().parents:
            if parent not in nodes:
                nodes.add(parent)
                stack.append(parent)
    return nodes
