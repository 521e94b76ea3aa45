"""Minibatch standard deviation: a layer that lets a discriminator see how much the examples of a batch vary.

    Karras, Aila, Laine & Lehtinen, Progressive growing of GANs (2018), arXiv 1710.10196, section 3

A generator that makes one image again and again is found out by this number alone.

Left out: groups of four, which the authors' code has and the paper has not.
"""

from ..autograd import ops
from .module import Module


class MinibatchStd(Module):
    """(B, C, ...) to (B, C + 1, ...): one number, how much the batch varies, is added as a constant channel.

    It is the standard deviation over the batch of each channel and place, averaged over all of these: 0 where
    the batch is a single example.
    """

    def forward(self, x):
        spread = ops.mean(ops.std(x, axis=0))
        return ops.concatenate([x, ops.broadcast_to(spread, (x.shape[0], 1, *x.shape[2:]))], axis=1)
