"""The picture of a Look: a map of attention for each head of each layer, and beside them the text in bits.

A weight is a square of whole screen pixels, as a pixel of an image is in plots.py. Its colour goes with the
square root of the weight: most weights of a row are small, and in proportion would be white. Grey is what is
exactly 0, so as a rule what may not be seen.

Left out: texts so long that a square would be less than a pixel, and a choice of heads.
"""

import numpy as np

from .plots import GREY, GRID, HEADER, INK, MARGIN, TEST, TRAIN, Page, drawable, save_figure

# Screen pixels
WIDE = 1296  # for the maps of a layer together
SMALLEST, LARGEST, GAP = 72, 520, 14  # the side of a map, and the space between two
TITLE, LABELS, NUMBERS = 30, 92, 34  # beside a map: its title, and its tokens or, without room, their numbers
ROOM = 11  # what a token needs to be written beside its row
TOP = HEADER + 22  # where maps and bars begin
AWAY, BARS, BITS = 64, 440, 40  # the text: from what is left of it, its bars, and below them their scale
LOW, HIGH, SHORTEST = 20, 44, 640  # a token's part of the text's height, and what of it is filled anyway
LETTER = 7.5  # of a token

LONGEST = 512  # tokens
LEGEND = {"frameon": False, "fontsize": 9, "labelcolor": GREY, "borderpad": 0, "borderaxespad": 0.2}
UNSEEN = "#eef0f3"
SHADES = ("#ffffff", "#bdd2ea", "#5c93cb", TEST, "#0b2c57")  # of weights from 0 to 1, by their square roots


def save_look(look, title, path):
    """Draw a Look.

    Args:
        look: see look.py.
        title: above it.
        path: where to write the PNG.

    Raises:
        ValueError: more than LONGEST tokens.
        OSError: it cannot be written.
    """
    heads = max(len(one.weights) for one in look.maps)
    longest = max(len(tokens) for one in look.maps for tokens in (one.rows, one.columns))
    if longest > LONGEST:
        raise ValueError(
            f"look: expected at most {LONGEST} tokens, as each is to be seen, got {longest}; give less text"
        )
    cell = max(1, round(min(LARGEST, max(SMALLEST, WIDE / heads - GAP)) / longest))
    beside = LABELS if cell >= ROOM else NUMBERS
    pitch = GAP + cell * max(len(one.columns) for one in look.maps)
    left = MARGIN + TITLE + beside
    right = max(left + heads * pitch - GAP, MARGIN + 13 * len(title) + 260)  # the title stands beside the key
    # Columns are told once below maps that have the same.
    shared = [*(one.columns == below.columns for one, below in zip(look.maps, look.maps[1:])), False]
    heights = [cell * len(one.rows) + (GAP if same else beside) for one, same in zip(look.maps, shared)]
    bottom = TOP + sum(heights)

    room = max(SHORTEST, bottom - beside - TOP)
    columns = -(-len(look.text) // (room // LOW))
    per_column = -(-len(look.text) // columns)
    row = min(HIGH, room // per_column)
    parts = [range(len(look.text))[i : i + per_column] for i in range(0, len(look.text), per_column)]
    width = right + columns * (AWAY + LABELS + BARS) + MARGIN
    page = Page(width, max(bottom, TOP + per_column * row + BITS) + MARGIN)

    page.head(MARGIN, title, "Tokens in rows look at those in columns")
    _key(page, right)
    for head in range(heads):
        page.write(left + head * pitch, TOP - 10, f"head {head + 1}", size=9.5, color=GREY)
    top = TOP
    for one, height, same in zip(look.maps, heights, shared):
        _layer(page, one, cell, left, top, pitch, labelled=not same)
        top += height
    page.head(right + AWAY, "What surprises it", look.cost())
    for i, part in enumerate(parts):
        start = right + AWAY + i * (AWAY + LABELS + BARS)
        _text(page, look, part, start, row, numbered=cell < ROOM)
    save_figure(page.figure, path)


# maps


def _layer(page, one, cell, left, top, pitch, *, labelled):
    """The maps of all heads, in a row."""
    heads, t, s = one.weights.shape
    page.write(MARGIN, top + cell * t / 2, one.title, rotation=90, weight="bold")
    for head in range(heads):
        axes = page.axes(left + head * pitch, top, cell * s, cell * t)
        axes.imshow(shaded(one.weights[head]), interpolation="none", aspect="auto")
        _ticks(axes.set_yticks, [] if head else one.rows, cell)
        _ticks(axes.set_xticks, one.columns if labelled else [], cell, rotation=90)


def _ticks(place, tokens, cell, **style):
    """Tokens beside their squares, or the numbers of some where there is no room."""
    if cell >= ROOM:
        place(range(len(tokens)), [_short(token) for token in tokens], parse_math=False, **style)
    else:
        step = next(n for n in (10, 20, 50) if n * cell > 30)
        place(range(0, len(tokens), step))


def shaded(weights):
    """Weights of any shape as colours (..., 3), bytes."""
    places = np.linspace(0, 1, len(SHADES))
    channels = _bytes(*SHADES).T
    drawn = np.stack([np.interp(np.sqrt(weights), places, channel) for channel in channels], axis=-1)
    return np.where((weights == 0)[..., None], _bytes(UNSEEN), drawn).round().astype(np.uint8)


def _bytes(*colours):
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours])


def _key(page, right):
    """Which colour is which weight."""
    width, weights = 180, (0, 0.05, 0.2, 0.5, 1)
    axes = page.axes(right - width, 24, width, 12)
    axes.imshow(shaded(np.linspace(0.001, 1, width)[None] ** 2), aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks(np.sqrt(weights), [f"{weight:g}" for weight in weights])
    axes.set_yticks([])
    page.write(right - width - 10, 30, "weight", ha="right", size=9.5, color=GREY)


# the text


def _text(page, look, shown, left, row, *, numbered):
    """The tokens `shown`: of each its surprisal, the entropy of the guess, and what was expected instead."""
    for i in shown:
        if numbered and i % 10 == 0:
            y = TOP + row * (i - shown[0] + 0.5)
            page.write(left, y, str(i), ha="right", size=8.5, color=GREY)
    axes = page.axes(left + LABELS, TOP, BARS, row * len(shown))
    told, guessed = look.guesses, np.array([i for i in shown if i], int)
    surprisal, entropy, right = (x[guessed - 1] for x in (told.surprisal, told.entropy, told.right))
    for kind, colour, words in ((right, TRAIN, "guessed right"), (~right, TEST, "wrong: what instead")):
        axes.barh(guessed, np.where(kind, surprisal, 0), 0.72, color=colour, label=words)
    axes.vlines(entropy, guessed - 0.44, guessed + 0.44, color=INK, lw=1.8, label="entropy of the guess")
    highest = max(told.surprisal.max(), told.entropy.max())
    words = {"size": 9, "color": GREY, "style": "italic", "va": "center", "parse_math": False}
    for i, x in zip(guessed[~right], np.maximum(surprisal, entropy)[~right]):
        axes.text(x + 0.012 * highest, i, _short(look.best[i - 1]), **words)
    axes.set_xlim(0, highest / (1 - LABELS / BARS))  # words have room
    axes.set_ylim(shown[-1] + 0.5, shown[0] - 0.5)
    axes.set_yticks(shown, [_short(look.text[i]) for i in shown], parse_math=False)
    axes.tick_params(axis="y", colors=INK, labelsize=9.5)
    axes.set_xlabel("surprisal, bits", size=9.5, color=GREY)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if shown[0] == 0:
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(-LABELS / BARS, 1), **LEGEND)


def _short(token):
    """As much of it as there is room for."""
    text, room = drawable(token), int(LABELS / LETTER)
    return text if len(text) <= room else f"{text[: room - 1]}\N{HORIZONTAL ELLIPSIS}"
