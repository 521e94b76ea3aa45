"""Convolutions as matrix products whose second operand is never there: the tile reads patches where they lie.

    out[b, m, y, x] = sum over c and taps t of a[m, (c, t)] X[b, c, (y, x) stride + offset(t)]   X = 0 outside

As a matrix product A is (M, C taps), B is (C taps, pixels): each pixel of X stands in as many rows of B as
there are taps, so that to write B down (im2col) moves 9 or 16 times the image. It need not be written. First
X is laid out as planes: with its margin of zeros and, where the stride is s, a plane for each of the s x s
phases, so that pixels that are neighbours in a result are neighbours in a plane as well:

    plane[c, f, y, x] = X[c, top + f0 + y s, left + f1 + x s]       1 move a pixel, beside 2 M taps operations

Now the patch of the next pixel starts at the next address, for every c and t. Row (c, t) of B is a run of a
plane, from starts[c, t] on, and the gathering tile (tile.py) takes it from there. A row of the result runs
on over the margin into the next row; what is computed there, (wide - across) / wide of all, is thrown away.
What a tile of 32 pixels needs of all channels and taps is 10 to 30 KB: it stays in the first cache while A
goes by.

The gradient of the kernel sums over pixels: there the planes are A, with tables of where its rows (c, t)
start and how far its columns, the pixels, are apart, and B is g, turned so that its channels are neighbours.

A transposed convolution, or the gradient of the image, is the sum above once for each phase of its result:
the pixels y = f mod s meet every s-th element of the kernel only. So all three are two loops around one tile.

Of small images much is thrown away: with 5 x 5 elements and a stride of 2, 32 numbers are computed for 4 x 4.
So where there are channels enough the product is turned: the rows of the tile are pixels, of all images one
after the other, and its lanes the channels of the result. Nothing is lost then but the time that it takes to
write them apart: 64 channels of 7 x 7 to 128 of 4 x 4 went from 51 to 92 GFLOP/s, and back from 50 to 110.

Writing B, for a few hundred pixels at a time, took a fifth of the time at 64 channels, more at 32, and for a
transposed convolution once for each phase.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from .compiled import Integers, Reads, ReadsRows, Size, WritesRows, inner, kernel, prange, suits
from .gemm import DEPTH, PRODUCTS
from .packing import lanes, move, pack_b, transpose
from .tile import (
    ROWS,
    SHORT,
    VECTOR_BYTES,
    VECTORS,
    at,
    columns,
    gathering_tile,
    get,
    put,
    short_gathering_tile,
)

PLANES = 8 << 20  # bytes of planes that are made at a time: they stay in the third cache
PIXELS, HEIGHT = 256, 96  # of a task: about so many pixels, at most so many rows of A
TASKS = 16  # so many are enough
TURNING = 10  # multiplications; see _turning_pays


def convolve(x, w, geometry):
    """As in reference.py."""
    if not suits(x, w):
        return NotImplemented
    sizes = zip(x.shape[2:], w.shape[2:], *geometry[:3])
    places = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    out = np.empty((len(x), len(w), *places), x.dtype)
    if not (x.size and w.size and out.size):
        out[...] = 0
        return out
    offsets, groups, many = _offsets(w.shape[2:], geometry), geometry.groups, len(w) // geometry.groups
    field, a = _field(places, geometry.stride, offsets), np.ascontiguousarray(w)
    steps, starts = np.arange(w[0].size), _starts(field, offsets, w.shape[1]).reshape(-1)
    if turned := _turning_pays(field, places, many, len(steps), w.itemsize):
        a = _turned(a.reshape(groups, 1, many, -1))
    else:
        a = a.reshape(groups, many, -1)
    for mine, planes in _laid_out(x, field, groups):
        _sum_over_taps(planes, a, turned, many, steps, starts, places, field, out[mine])
    return out


def convolve_image(g, w, geometry, shape):
    """As in reference.py, which also gets kernels that are not finite: here they would meet zeros."""
    if not suits(g, w) or not math.isfinite(w.sum()):
        return NotImplemented
    image, groups = np.empty(shape, g.dtype), geometry.groups
    if not (g.size and w.size and image.size):
        image[...] = 0
        return image
    many, few = len(w) // groups, w.shape[1]
    phases, field = _phases(shape[2:], w.shape[2:], geometry)
    length = many * math.prod(w.shape[2:]) / len(phases)  # on average
    if turned := _turning_pays(field, max(places for _, places, _, _ in phases), few, length, w.itemsize):
        a = _turned(np.ascontiguousarray(w).reshape(groups, many, few, -1))
    else:
        a = np.ascontiguousarray(w.reshape(groups, many, few, -1).transpose(0, 2, 3, 1)).reshape(
            groups, few, -1
        )
    sums = []
    for first, places, elements, offsets in phases:
        if offsets:
            steps = np.add.outer(np.multiply(elements, many), np.arange(many)).reshape(-1)
            sums.append((first, (steps, _starts(field, offsets, many).T.reshape(-1), places, field)))
    if len(sums) < len(phases):
        image[...] = 0
    for mine, planes in _laid_out(g, field, groups):
        for first, given in sums:
            _sum_over_taps(planes, a, turned, few, *given, image[mine], first, geometry.stride)
    return image


def convolve_kernel(x, g, geometry, shape):
    """As in reference.py."""
    if not suits(x, g):
        return NotImplemented
    many, few, *size = shape
    groups, places = geometry.groups, g.shape[2:]
    out = np.empty(shape, x.dtype)
    if not (x.size and g.size and out.size):
        out[...] = 0
        return out
    offsets = _offsets(size, geometry)
    field = _field(places, geometry.stride, offsets)
    rows, wide = _starts(field, offsets, few).reshape(-1), VECTORS * VECTOR_BYTES // x.itemsize
    blocks = -(-len(rows) // HEIGHT)
    images = max(1, min(len(x), PIXELS // math.prod(places)))
    parts = max(1, min(-(-len(x) // images), TASKS // (groups * blocks)))
    sums = np.zeros((parts, groups, blocks * HEIGHT, _up(many // groups, wide)), x.dtype)
    g = np.ascontiguousarray(g).reshape(len(g), groups, many // groups, -1)
    for mine, planes in _laid_out(x, field, groups):
        steps = _pixels(field, places, min(images, len(planes)), planes[0].size)
        _correlate(planes, g[mine], rows, steps, sums, work=g[mine].size * len(rows) / PRODUCTS)
    _add_up(sums, out.reshape(groups, many // groups, -1), work=sums.size)
    return out


# Where things lie: plans that depend on shapes alone


class _Field(NamedTuple):
    """What the taps of a convolution see, and how it is laid out: planes (P, high, wide) of each channel.

    Plane f holds x[top + f0 + y s0, left + f1 + x s1] at (y, x); `phases` lists the pairs (f0, f1).
    """

    top: int
    left: int
    stride: tuple
    high: int
    wide: int
    phases: tuple


def _offsets(size, geometry):
    """Where each element of a kernel lies, from the pixel that it is multiplied with at place (0, 0)."""
    (ph, pw), (dh, dw) = geometry.padding, geometry.dilation
    return tuple((i * dh - ph, j * dw - pw) for i in range(size[0]) for j in range(size[1]))


@functools.lru_cache(1000)
def _field(places, stride, offsets):
    """The field of a result of `places` pixels, for taps at these offsets."""
    (top, left), (sh, sw) = map(min, zip(*offsets)), stride
    high = places[0] + max((y - top) // sh for y, _ in offsets)
    wide = places[1] + max((x - left) // sw for _, x in offsets)
    phases = tuple(sorted({((y - top) % sh, (x - left) % sw) for y, x in offsets}))
    return _Field(top, left, stride, high, wide, phases)


@functools.lru_cache(1000)
def _starts(field, offsets, channels):
    """Where the run of each (channel, tap) starts, in one image of one group."""
    (sh, sw), plane = field.stride, field.high * field.wide
    taps = [
        field.phases.index((y % sh, x % sw)) * plane + y // sh * field.wide + x // sw
        for y, x in ((y - field.top, x - field.left) for y, x in offsets)
    ]
    return np.add.outer(np.arange(channels) * plane * len(field.phases), taps)


@functools.lru_cache(1000)
def _pixels(field, places, images, image):
    """How far the pixels of some images, of a result of `places`, are from the first."""
    y, x = np.ogrid[: places[0], : places[1]]
    return np.add.outer(np.arange(images) * image, y * field.wide + x).reshape(-1)


@functools.lru_cache(1000)
def _windows(field, height, width):
    """For each plane, down and across: where it starts in an image, and which of its places lie inside."""
    windows = []
    for f in field.phases:
        window = []
        for first, stride, length, size in zip(
            (field.top + f[0], field.left + f[1]), field.stride, (field.high, field.wide), (height, width)
        ):
            low = min(length, max(0, -(first // stride)))
            window += [first, low, max(low, min(length, -((first - size) // stride)))]
        windows.append(window)
    return np.array(windows)


@functools.lru_cache(1000)
def _phases(size, kernel_size, geometry):
    """The parts of an image that a transposed convolution computes at once, and the field of all.

    A part is every s-th pixel from `first` on: (first, its places, the elements of the kernel that it meets,
    at which offsets). Pixel first + i s got element k of a kernel that stood at i + (first + p - k d) / s.
    """
    parts = []
    for first in itertools.product(*map(range, geometry.stride)):
        places = tuple(max(0, -(-(n - start) // s)) for n, start, s in zip(size, first, geometry.stride))
        met = [
            [(k, (start + p - k * d) // s) for k in range(n) if (start + p - k * d) % s == 0]
            for start, n, s, p, d in zip(first, kernel_size, *geometry[:3])
        ]
        pairs = list(itertools.product(*met)) if min(places) else []
        elements = tuple(i * kernel_size[1] + j for (i, _), (j, _) in pairs)
        parts.append((first, places, elements, tuple((y, x) for (_, y), (_, x) in pairs)))
    every = tuple({offset for _, _, _, offsets in parts for offset in offsets}) or ((0, 0),)
    most = tuple(max(places[axis] for _, places, _, _ in parts) for axis in (0, 1))
    return parts, _field(most, (1, 1), every)


# The planes


def _laid_out(x, field, groups):
    """Some images at a time, as a slice, and their planes (B, groups, numbers), which last until the next.

    A tile may read a vector beyond them.
    """
    batch, channels, *size = x.shape
    numbers = channels * len(field.phases) * field.high * field.wide
    some = max(1, min(batch, PLANES // (numbers * x.itemsize)))
    memory = np.empty(some * numbers + VECTORS * VECTOR_BYTES // x.itemsize, x.dtype)
    windows = _windows(field, *size)
    for first in range(0, batch, some):
        mine = slice(first, min(first + some, batch))
        planes = memory[: (mine.stop - first) * numbers]
        laid = planes.reshape(-1, channels, len(windows), field.high * field.wide)
        _lay_out(x[mine], windows, *field.stride, field.wide, laid, work=planes.size)
        yield mine, planes.reshape(-1, groups, numbers // groups)


@kernel
def _lay_out(x: Reads[4], windows: Integers[2], sh: Size, sw: Size, wide: Size, planes: WritesRows[4]):
    row, column = sh * x.strides[2] // x.itemsize, sw * x.strides[3] // x.itemsize
    for task in prange(x.shape[0] * x.shape[1]):
        b, c = task // x.shape[1], task % x.shape[1]
        mine, image = planes[b, c], at(x, (b * x.strides[0] + c * x.strides[1]) // x.itemsize)
        mine[:] = 0
        for f in range(len(windows)):
            top, first, last = windows[f, 0], windows[f, 1], windows[f, 2]
            left, low, high = windows[f, 3], windows[f, 4], windows[f, 5]
            corner = at(image, top * row // sh + left * column // sw)
            for y in range(first, last):
                target = at(mine, f * mine.shape[1] + y * wide + low)
                move(at(corner, y * row + low * column), column, target, 1, high - low)


# The sum over taps


def _turning_pays(field, places, many, length, size):
    """Whether it is quicker if the lanes of the tile are not pixels, but the `many` channels of a result.

    That depends on how many lanes compute what is thrown away, in a sum of this length. Turned, a result
    takes as long to write as TURNING multiplications. `size`: bytes of a number.
    """
    wide, (bands, band) = VECTORS * VECTOR_BYTES // size, _bands(field, places)
    run = (band - 1) * field.wide + places[1]
    as_pixels = bands * _up(run, wide) / math.prod(places) * _up(many, SHORT) / many
    return length * _up(many, wide) / many + TURNING < length * as_pixels


def _up(n, unit):
    """`n` rounded up to whole units."""
    return -(-n // unit) * unit


def _bands(field, places):
    """In how many parts the rows of a result are taken, and how many rows a part has."""
    bands = max(1, places[0] * field.wide // PIXELS)
    return bands, -(-places[0] // bands)


def _turned(w):
    """w (groups, n, channels, taps) as (groups, taps n, lanes): rows of channels, whole vectors of them."""
    groups, n, channels, taps = w.shape
    wide = _up(channels, VECTORS * VECTOR_BYTES // w.itemsize)
    out = np.empty((groups, taps, n, wide), w.dtype)
    _turn(w, out, work=w.size)
    return out.reshape(groups, taps * n, -1)


def _sum_over_taps(planes, a, turned, many, steps, starts, places, field, out, first=(0, 0), apart=(1, 1)):
    """out[b, m, first + (y, x) apart] = sum of a[m, steps[k]] planes[b, starts[k] + y wide + x].

    Of each group a is (many, length), or turned, (length, lanes).
    """
    work = out.size * len(steps) / PRODUCTS
    if turned:
        pixels = _pixels(field, places, 1, 0)
        there = _pixels_there(out.shape[2:], places, first, apart)
        _gather_pixels(planes, a, many, pixels, starts, steps * a.shape[2], out, there, work=work)
        return
    rows = np.minimum(np.arange(-(-many // ROWS) * ROWS), many - 1) * a.shape[2]  # none lies outside
    _, band = _bands(field, places)
    given = planes, a.reshape(len(a), -1), many, rows, steps, starts, *places, field.wide, band
    _gather(*given, out, *first, *apart, work=work)


@functools.lru_cache(1000)
def _pixels_there(size, places, first, apart):
    """Where the pixels of a result go, in an image of this size."""
    y, x = np.ogrid[: places[0], : places[1]]
    return ((first[0] + y * apart[0]) * size[1] + first[1] + x * apart[1]).reshape(-1)


@kernel
def _turn(w: ReadsRows[4], out: WritesRows[4]):
    """out[group, tap, n, channel] = w[group, n, channel, tap]"""
    _, many, channels, taps = w.shape
    square, wide = lanes(w), out.shape[3]
    for task in prange(len(w) * many):
        group, n = task // many, task % many
        source, target = at(w[group, n], 0), at(out[group, 0, n], 0)
        for c in range(0, channels, square):
            for t in range(0, taps, square):
                if c + square <= channels and t + square <= taps:
                    there = at(target, t * many * wide + c)
                    transpose(at(source, c * taps + t), taps, there, many * wide)
                else:
                    for i in range(c, min(c + square, channels)):
                        for k in range(t, min(t + square, taps)):
                            put(target, k * many * wide + i, get(source, i * taps + k))


@kernel
def _gather_pixels(
    planes: ReadsRows[3],
    a: ReadsRows[3],
    many: Size,
    pixels: Integers[1],
    steps: Integers[1],
    rows: Integers[1],
    out: WritesRows[4],
    there: Integers[1],
):
    """The sum with pixels in place of rows of A, those of all images in a row, and channels in the lanes."""
    groups, image, plane = planes.shape[1], planes.shape[1] * planes.shape[2], out.shape[2] * out.shape[3]
    length, wide, total = len(steps), a.shape[2], len(planes) * len(pixels)
    for task in prange((total + HEIGHT - 1) // HEIGHT * groups):
        group, first = task % groups, task // groups * HEIGHT
        count, c = min(HEIGHT, total - first), np.empty(HEIGHT * wide, a.dtype)
        mine, targets = np.empty(HEIGHT, np.int64), np.empty(HEIGHT, np.int64)
        for i in range(HEIGHT):
            pixel = min(first + i, total - 1)
            b, p = pixel // len(pixels), pixel % len(pixels)
            mine[i] = b * image + pixels[p]
            targets[i] = (b * groups + group) * many * plane + there[p]
        for k in range(0, length, DEPTH):
            for j in range(0, wide, columns(a)):
                strip(
                    at(planes[0, group], 0), mine, count, steps[k:], at(a[group], j), rows[k:], at(c, j),
                    wide, min(DEPTH, length - k), k > 0,
                )  # fmt: skip
        for m in range(many):
            for i in range(count):
                put(at(out, m * plane), targets[i], get(at(c, m), i * wide))


@kernel
def _gather(
    planes: ReadsRows[3],
    a: ReadsRows[2],
    many: Size,
    rows: Integers[1],
    steps: Integers[1],
    starts: Integers[1],
    down: Size,
    across: Size,
    wide: Size,
    band: Size,
    out: WritesRows[4],
    top: Size,
    left: Size,
    sh: Size,
    sw: Size,
):
    groups, length = len(a), len(steps)
    bands, blocks, at_once = (down + band - 1) // band, (many + HEIGHT - 1) // HEIGHT, columns(a)
    room = ((band - 1) * wide + across + at_once - 1) // at_once * at_once
    for task in prange(len(planes) * groups * bands * blocks):
        b, group = task // (groups * bands * blocks), task // (bands * blocks) % groups
        y0, m0 = task // blocks % bands * band, task % blocks * HEIGHT
        height, count = min(band, down - y0), min(HEIGHT, many - m0)
        c = np.empty((HEIGHT + ROWS) * room, a.dtype)
        for p in range(0, (height - 1) * wide + across, at_once):
            here = at(planes[b, group], y0 * wide + p)
            strip(at(a[group], 0), rows[m0:], count, steps, here, starts, at(c, p), room, length, False)
        for m in range(count):
            image = out[b, group * many + m0 + m]
            for y in range(height):
                line, target = at(c, m * room + y * wide), image[top + (y0 + y) * sh]
                move(line, 1, at(target, left), sw, across)


@inner
def strip(a, rows, count, steps, b, starts, c, ldc, length, more):
    """One column of tiles: `count` rows of C, and up to a tile more."""
    i = 0
    while i < count:
        if count - i > ROWS - SHORT:
            gathering_tile(a, at(rows, i), at(steps, 0), b, at(starts, 0), at(c, i * ldc), ldc, length, more)
            i += ROWS
        else:
            short_gathering_tile(
                a, at(rows, i), at(steps, 0), b, at(starts, 0), at(c, i * ldc), ldc, length, more
            )
            i += SHORT


# The sum over pixels


@kernel
def _correlate(
    planes: ReadsRows[3], g: ReadsRows[4], rows: Integers[1], steps: Integers[1], sums: WritesRows[4]
):
    """sums[part, group, k, m] += the part's sum over images and pixels of planes[k, pixel] g[m, pixel].

    For the tile rows[k] is where k = (channel, tap) starts in the planes, `steps` how far the pixels are from
    there, and `starts` where a pixel's row of the panel is.
    """
    parts, groups, tall, ld = sums.shape
    batch, _, many, pixels = g.shape
    blocks, at_once, images = tall // HEIGHT, columns(g), len(steps) // pixels
    starts = np.arange(len(steps)) * at_once
    for task in prange(parts * groups * blocks):
        part, group, first = task // (groups * blocks), task // blocks % groups, task % blocks * HEIGHT
        mine = np.empty(HEIGHT, np.int64)
        for k in range(HEIGHT):
            mine[k] = rows[min(first + k, len(rows) - 1)]
        panel = np.empty(len(steps) * at_once, g.dtype)
        start, stop = part * batch // parts, (part + 1) * batch // parts
        for b in range(start, stop, images):
            some = min(images, stop - b)
            for m in range(0, many, at_once):
                for image in range(some):
                    source = at(g[b + image, group], m * pixels)
                    width = min(at_once, many - m)
                    pack_b(source, 1, pixels, pixels, width, panel[image * pixels * at_once :])
                target = at(sums[part, group], first * ld + m)
                count = min(HEIGHT, len(rows) - first)
                strip(
                    at(planes[b, group], 0), mine, count, steps, at(panel, 0), starts, target, ld,
                    some * pixels, True,
                )  # fmt: skip


@kernel
def _add_up(sums: ReadsRows[4], out: WritesRows[3]):
    """out[group, m, k] = the sum over parts of sums[part, group, k, m]."""
    groups, many, length = out.shape
    for task in prange(groups * many):
        group, m = task // many, task % many
        for k in range(length):
            total = sums[0, group, k, m]
            for part in range(1, len(sums)):
                total += sums[part, group, k, m]
            out[group, m, k] = total
