"""What a computation leaves behind: the dtype of every array made from another, and the nodes of its graph.

An array that is watched notes it: temporaries inside of operations included.
"""

import numpy as np

seen = set()  # names of dtypes


class Watched(np.ndarray):
    def __array_finalize__(self, source):
        seen.add(self.dtype.name)


def watched(array):
    """The same numbers, watched."""
    return array.view(Watched)


def below(node):
    """The node, and all nodes that lead to it."""
    nodes, stack = {node}, [node]
    while stack:
        for parent in stack.pop().parents:
            if parent not in nodes:
                nodes.add(parent)
                stack.append(parent)
    return nodes
