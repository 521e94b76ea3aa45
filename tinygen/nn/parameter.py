"""Parameters: the tensors that a module learns."""

from .. import arrays
from ..autograd.engine import Leaf, Tensor


class Parameter(Tensor):
    """A Tensor that always requires a gradient, made from a copy of floating-point `values` of any shape.

    A `Module` finds the Parameters among its attributes and names them. Optimizers change their values by
    `assign`, after which a backward through an older graph raises and names the parameter.

    Raises:
        TypeError: `values` are not floating-point.
    """

    __slots__ = ()

    def __init__(self, values, name=None):
        array = values.data if isinstance(values, Tensor) else arrays.as_array(values)
        if not arrays.is_floating(array.dtype):
            raise TypeError(
                f"Parameter: expected floating-point values, got {arrays.describe(array)}; "
                "do values.astype('float32') first"
            )
        self.data, self.grad = array.copy(), None
        self.node = Leaf(self, name)

    def __reduce__(self):
        # For copy.deepcopy and pickle. Copied slot by slot, a Parameter would share its Leaf, and a backward
        # through the copy would send its gradients to the original.
        return Parameter, (self.data, self.node.name)
