"""report.html: a run on one page that needs nothing beside it. The pictures are in the page itself."""

import base64
import html

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1100px; margin: 2.5rem auto;
       padding: 0 1.5rem }
h1 { font-size: 1.9rem; margin: 0 }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem }
p.lead, figcaption { color: #68707a; margin: .3rem 0 }
img { max-width: 100%; height: auto; display: block }
figure { margin: 0 }
figcaption { font-size: .9rem }
table { border-collapse: collapse; font-size: .92rem }
td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }
th { color: #68707a; font-weight: 500 }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
pre { background: #f6f7f9; padding: 1rem; overflow-x: auto; font-size: .82rem; line-height: 1.35 }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem }
.row figure { width: 250px }
.columns { columns: 3 15rem }
a { color: #1f5fa8 }
"""


def page(title, lead, parts):
    """A whole HTML page. `parts` are pairs of a heading, None for none, and HTML."""
    body = "".join((f"<h2>{html.escape(heading)}</h2>" if heading else "") + part for heading, part in parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width">'
        f'<style>{STYLE}</style><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>{body}\n'
    ).encode("utf-8", "replace")


def report(run, *, lead, samples, profile=None):
    """The page of a run as bytes: its figures, curves, samples over time, configuration, and where time goes.

    Args:
        run: a Run that has been trained.
        lead: the line below the title.
        samples: the path of the picture (or text) of the end.
        profile: a table of a step's operations as text, or None.
    """
    rows = run.metrics()
    parts = [(None, picture(samples)), ("Curves", picture(run.path("curves.png")))]
    parts += [("Figures of the last evaluation", _figures(rows[-1]))] if rows else []
    moving = run.path("animation.png")
    parts += [("What it made, in time", picture(moving))] if moving.is_file() else []
    earlier = [path for path in run.path("samples").iterdir() if path.stem.isdigit()]
    earlier.sort(key=lambda path: int(path.stem))
    pictures = "".join(picture(path, f"after {int(path.stem):,} steps") for path in earlier)
    parts.append(("Samples over time", f'<div class="row">{pictures}</div>'))
    config = run.config()
    groups = [value for value in config.values() if isinstance(value, dict)]
    plain = {name: value for name, value in config.items() if not isinstance(value, dict)}
    tables = [_table({k: v for k, v in group.items() if v is not None}) for group in (plain, *groups)]
    parts.append(("Configuration", f'<div class="columns">{"".join(tables)}</div>'))
    if profile:
        parts.append(("Operations of a step", f"<pre>{html.escape(profile)}</pre>"))
    return page(run.folder.name, lead, parts)


def picture(path, caption=None):
    """A PNG, or a text, as HTML with its content inside."""
    if path.suffix == ".png":
        content = base64.b64encode(path.read_bytes()).decode()
        shown = f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{content}">'
    else:
        shown = f"<pre>{html.escape(path.read_text(encoding='utf-8'))}</pre>"
    return f"<figure>{shown}<figcaption>{html.escape(caption or '')}</figcaption></figure>"


def _figures(row):
    """A row of metrics as a table: a figure a line, on training data and on test data."""
    names = dict.fromkeys(key.partition("_")[2] for key in row if key.startswith(("train_", "test_")))
    cells = [["", "training", "test"]]
    for name in names:
        values = [row.get(f"{split}_{name}") for split in ("train", "test")]
        cells.append([name.replace("_", " "), *("" if value is None else f"{value:.6g}" for value in values)])
    return _rows(cells)


def _table(values):
    """A dict as a table: a name and its value a line."""
    return _rows([[str(name), str(value)] for name, value in values.items()])


def _rows(rows):
    """Rows of strings as a table, the first of each a heading."""
    lines = (
        f"<tr><th>{html.escape(first)}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f"<table>{''.join(lines)}</table>"
