"""EMA: a moving average of a module's parameters, which is often a better model than the last ones.

Polyak & Juditsky, Acceleration of stochastic approximation by averaging (1992)
Karras et al., Progressive growing of GANs (2018), appendix A.1: with an exponential decay
"""

import contextlib

from .. import arrays


class EMA:
    """The exponential moving average of the parameters of a module, moved once after every step.

        average <- d average + (1 - d) parameter    with d = min(decay, (1 + t) / (10 + t)) at step t = 1, ...

    The smaller d of the first steps makes the initial weights be forgotten quickly, as TensorFlow's does.

    Args:
        module: whose parameters are averaged. Its buffers are not.
        decay: in [0, 1); 0.999 averages over about the last thousand steps.
        part: a module in it, if only the parameters of that one are averaged, such as the generator of a GAN.

    Raises:
        ValueError: `decay` is out of its range.
    """

    def __init__(self, module, *, decay, part=None):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: expected 0 <= decay < 1, got {decay}; 0.999 is usual")
        chosen = {id(parameter) for parameter in (part or module).parameters()}
        self.parameters = {name: p for name, p in module.named_parameters() if id(p) in chosen}
        self.averages = {name: parameter.data.copy() for name, parameter in self.parameters.items()}
        self.decay, self.steps = decay, 0

    def update(self):
        """Move the averages towards the parameters: once after each of the optimizer's steps."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, average in self.averages.items():
            average *= decay
            average += (1 - decay) * self.parameters[name].data

    @contextlib.contextmanager
    def applied(self):
        """`with ema.applied():` the module computes with the averages, and afterwards as before."""
        own = {name: parameter.data for name, parameter in self.parameters.items()}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(own)

    def assign(self):
        """Give the parameters the values of the averages, for good."""
        self._assign(self.averages)

    def _assign(self, values):
        for name, parameter in self.parameters.items():
            parameter.assign(values[name])

    def state_dict(self):
        """A dict of NumPy copies: each average under its parameter's name."""
        return {name: arrays.to_numpy(average).copy() for name, average in self.averages.items()}

    def load_state_dict(self, state, *, steps):
        """Continue from what `state_dict` gave, after that many steps.

        Raises:
            ValueError: the names or shapes are others. Nothing has been changed.
        """
        if {name: array.shape for name, array in state.items()} != {
            name: average.shape for name, average in self.averages.items()
        }:
            raise ValueError(
                "EMA.load_state_dict: expected the averages of this module's parameters, got others; "
                "make the module as it was when they were saved"
            )
        for name, average in self.averages.items():
            average[...] = arrays.of(average).asarray(state[name])
        self.steps = steps
