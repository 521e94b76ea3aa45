"""Seeing a VAE's code: paths between images, what each dimension does, rate and distortion; the commands."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen import metrics
from tinygen.cli import main
from tinygen.data.sprites import FACTORS, SIZES, TURNS, sprites
from tinygen.models import VAE, VAEConfig
from tinygen.training import Session, interpolate, plots, rate_distortion, session, traverse
from tinygen.training.interpolate import Interpolating, Interpolation, Path, spherical, straight
from tinygen.training.traverse import Traversal, Traversing

for library in ("sklearn", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)

PLACES = np.linspace(0, 1, 7)


def generator(seed=0):
    return np.random.default_rng(seed)


# paths


def test_between_codes_of_one_length_the_circle_is_shoemakes():
    a, b = (x / np.linalg.norm(x) * 3 for x in generator().standard_normal((2, 5)))
    angle = math.acos(a @ b / 9)
    t = PLACES[:, None]
    expected = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / math.sin(angle)
    np.testing.assert_allclose(spherical(a, b, PLACES), expected, rtol=1e-12, atol=1e-12)


numbers = st.floats(-10, 10).map(lambda x: round(x, 3))


@given(st.integers(2, 5).flatmap(lambda n: st.tuples(*[st.lists(numbers, min_size=n, max_size=n)] * 2)))
def test_paths_lead_from_end_to_end_whatever_the_codes(ends):
    a, b = map(np.array, ends)
    for between in (straight, spherical):
        codes = between(a, b, PLACES)
        assert codes.shape == (7, len(a))
        np.testing.assert_allclose(codes[[0, -1]], [a, b], atol=1e-5)
    lengths = np.linalg.norm([a, b], axis=1)
    if lengths.min() > 0:  # else it is the line
        expected = (1 - PLACES) * lengths[0] + PLACES * lengths[1]
        np.testing.assert_allclose(np.linalg.norm(codes, axis=1), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "a, b", [([0.0, 2, 0], [0.0, -4, 0]), ([1.0, 1, -1], [-1.0, -1, 1]), ([2.0, 0], [-2.0, 0])]
)
def test_between_opposite_codes_the_circle_turns_evenly(a, b):
    a, b = np.array(a), np.array(b)
    codes = spherical(a, b, PLACES)
    np.testing.assert_allclose(codes[[0, -1]], [a, b], atol=1e-12)
    directions = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    np.testing.assert_allclose(
        np.arccos((directions[1:] * directions[:-1]).sum(axis=1)), np.pi / 6, rtol=1e-6
    )


@pytest.mark.parametrize(
    "a, b",
    [([0.0, 0], [3.0, 4]), ([3.0, 4], [0.0, 0]), ([0.0, 0], [0.0, 0]), ([1.5], [-0.5]), ([1.0, 2], [3.0, 6])],
)
def test_where_there_is_no_circle_it_is_the_line(a, b):
    a, b = np.array(a), np.array(b)
    np.testing.assert_allclose(spherical(a, b, PLACES), straight(a, b, PLACES), atol=1e-12)


def path(values):
    """A Path of images of one pixel."""
    return Path(np.zeros((len(values), 1)), np.array(values, np.float32).reshape(-1, 1, 1))


def test_unevenness_and_detour_by_hand():
    even = path([0, 0.25, 0.5, 0.75, 1])
    assert (even.unevenness, even.detour) == pytest.approx((1, 1))
    jump = path([0, 0, 0, 0, 1])
    assert (jump.unevenness, jump.detour) == pytest.approx((4, 1))
    back = path([0, 1, 0, 1])
    assert (back.unevenness, back.detour) == pytest.approx((1, 3))
    turning = Path(np.zeros((3, 1)), np.array([[[1.0, 0]], [[0, 0]], [[0, 1]]]))  # by a corner
    assert turning.detour == pytest.approx(2 / math.sqrt(2))
    assert turning.steps.tolist() == [1, 1]


# runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small VAEs on the digits: a function of a run's name to its folder."""
    out = tmp_path_factory.mktemp("runs")
    (out / "text.txt").write_text("the quick brown fox " * 30, encoding="utf-8")
    np.savez(out / "mine.npz", images=generator().random((60, 8, 8), dtype=np.float32))
    common = {"hidden": 32, "latent": 3, "epochs": None, "steps": 60, "evaluate_every": 60, "lr": 1e-2}
    for name, settings in {
        "plain": {},
        "strict": {"beta": 3.0},
        "loose": {"beta": 0.3, "free_bits": 0.5},
        "bernoulli": {"likelihood": "bernoulli", "lr": 3e-3},
        "told": {"condition": "label"},
        "mine": {"data": str(out / "mine.npz")},
    }.items():
        Session.begin("vae", common | settings, out=out, name=name).train()
    sizes = {"layers": 1, "heads": 1, "width": 8, "context": 8, "batch": 2, "steps": 1, "warmup": 0}
    Session.begin("gpt", {"data": str(out / "text.txt"), **sizes}, out=out, name="gpt").train()
    return lambda name: out / name


def task_of(folder):
    return session.trained_with_data(folder)[1]


def run(capsys, *argv):
    """The lines that a command prints."""
    assert main([str(word) for word in argv]) == 0
    return capsys.readouterr().out.rstrip("\n").split("\n")


def refused(capsys, *argv):
    assert main([str(word) for word in argv]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def size(path):
    """(width, height) of a PNG, which shows something."""
    from PIL import Image

    with Image.open(path) as picture:
        assert picture.format == "PNG" and len(np.unique(np.asarray(picture))) > 20
        return picture.size


# interpolate


def test_the_ends_of_a_path_are_reconstructions(runs):
    task = task_of(runs("plain"))
    found = interpolate.interpolate(task, "3", "12", Interpolating(steps=5), rng=generator())
    np.testing.assert_array_equal(found.ends, task.test[[3, 12]])
    codes = [task.model.encode(task.test[i : i + 1])[0].numpy() for i in (3, 12)]
    expected = np.concatenate([task.model.generate(code).numpy() for code in codes])
    np.testing.assert_array_equal(found.paths["straight"].codes[[0, -1]], np.concatenate(codes))
    for one in found.paths.values():
        assert one.images.shape == (5, 8, 8)
        np.testing.assert_allclose(one.images[[0, -1]], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.images, task.model.generate(one.codes).numpy())
    line, circle = (one.codes for one in found.paths.values())
    np.testing.assert_allclose(line[2], line[[0, -1]].mean(axis=0), rtol=1e-5)
    assert np.linalg.norm(circle[2]) == pytest.approx(np.linalg.norm(line[[0, -1]], axis=1).mean(), rel=1e-5)
    back = interpolate.interpolate(task, "12", "3", Interpolating(steps=5), rng=generator())
    np.testing.assert_allclose(back.paths["spherical"].codes[::-1], circle, rtol=1e-4, atol=1e-5)


def test_what_a_model_is_told_of_the_first_image_is_held(runs):
    task = task_of(runs("told"))
    labels = task.known
    a, b = 0, int(np.flatnonzero(labels != labels[0])[0])
    found = interpolate.interpolate(task, str(a), str(b), Interpolating(steps=4), rng=generator())
    one = found.paths["straight"]
    means = [
        task.model.encode(task.test[i : i + 1], task.test_given[i : i + 1])[0].numpy()[0] for i in (a, b)
    ]
    np.testing.assert_allclose(one.codes[[0, -1]], means, rtol=1e-5, atol=1e-6)
    told = task.test_given[[a] * 4]
    np.testing.assert_allclose(one.images, task.model.generate(one.codes, told).numpy(), atol=1e-6)
    assert (
        np.abs(one.images[-1] - task.model.generate(one.codes[-1:], task.test_given[b : b + 1]).numpy()).max()
        > 0.01
    )
    assert found.held == "told on the whole way what is known of test image 0: label"
    assert "(told on the whole way what is known of test image 0: label)" in found.table()


def test_interpolate_draws_and_measures(runs, capsys):
    lines = run(capsys, "interpolate", runs("plain"), 1, 2)
    assert lines[-1] == str(runs("plain") / "interpolate.png")
    tile = plots.TILE + plots.GAP
    high = plots.HEADER + 2 * tile - plots.GAP + plots.MARGIN
    assert size(lines[-1]) == (11 * tile - plots.GAP + 2 * plots.MARGIN, high)
    found = interpolate.interpolate(task_of(runs("plain")), "1", "2", Interpolating(), rng=generator())
    for line, (name, one) in zip(lines[1:3], found.paths.items()):
        assert line.split() == [name, f"{one.unevenness:.3f}", f"{one.detour:.3f}"]
        assert one.unevenness >= 1 and one.detour >= 1 - 1e-6
    assert lines[3].startswith("(unevenness: the largest step") and lines[4].startswith("(detour: the length")


def test_interpolate_takes_pictures_of_any_size_and_other_places(runs, tmp_path, capsys):
    from PIL import Image

    task = task_of(runs("plain"))
    three = np.round(task.test[3] * 255).astype(np.uint8)
    Image.fromarray(three).save(tmp_path / "three.png")
    Image.fromarray(three.repeat(4, axis=0).repeat(4, axis=1)).save(tmp_path / "large.png")
    there = tmp_path / "there.png"
    argv = ["--steps", 4, "--picture", there, "--checkpoint", "best"]
    numbers, files, large = (
        run(capsys, "interpolate", runs("plain"), word, 5, *argv)
        for word in ("3", tmp_path / "three.png", tmp_path / "large.png")
    )
    assert size(there)[0] == 6 * (plots.TILE + plots.GAP) - plots.GAP + 2 * plots.MARGIN
    assert numbers[-1] == files[-1] == large[-1] == str(there)
    for other in (files, large):
        figures = [[float(x) for x in line.split()[1:]] for line in (*numbers[1:3], *other[1:3])]
        np.testing.assert_allclose(figures[:2], figures[2:], atol=0.02)


def test_between_two_pictures_no_data_are_needed(runs, tmp_path, capsys, monkeypatch):
    from PIL import Image

    for i in (0, 1):
        Image.fromarray(generator(i).integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    monkeypatch.setattr("tinygen.training.session.add_data", None)
    argv = [tmp_path / "0.png", tmp_path / "1.png", "--seed", 3]
    first = run(capsys, "interpolate", runs("bernoulli"), *argv)
    assert first == run(capsys, "interpolate", runs("bernoulli"), *argv)
    assert first != run(capsys, "interpolate", runs("bernoulli"), *argv[:2], "--seed", 4)  # drawn anew


def test_what_cannot_be_interpolated_is_told(runs, tmp_path, capsys):
    told = refused(capsys, "interpolate", runs("plain"), 1)
    assert "interpolate: expected a run folder and two images; do: tinygen interpolate RUN 0 1" in told
    told = refused(capsys, "interpolate", runs("plain"), 1, 297)
    assert "image: expected a test image from 0 to 296, got 297; choose another" in told
    told = refused(capsys, "interpolate", runs("plain"), 1, 1)
    assert "interpolate: expected two images that decode differently, got 1 and 1; choose others" in told
    told = refused(capsys, "interpolate", runs("told"), 1, tmp_path / "x.png")
    assert (
        "x.png: expected the number of a test image, as the model is told the label of an image, got a"
        in told
    )
    assert "x.png: expected a file or a folder" in refused(
        capsys, "interpolate", runs("plain"), 1, tmp_path / "x.png"
    )
    (tmp_path / "x.png").write_bytes(b"no picture")
    assert "x.png: expected a picture, got" in refused(
        capsys, "interpolate", runs("plain"), 1, tmp_path / "x.png"
    )
    assert "steps: expected at least 2, got 1" in refused(
        capsys, "interpolate", runs("plain"), 1, 2, "--steps", 1
    )
    assert "did you mean --steps?" in refused(capsys, "interpolate", runs("plain"), 1, 2, "--stps", 3)
    told = refused(capsys, "interpolate", runs("gpt"), 1, 2)
    assert (
        f"interpolate: expected a VAE, got the gpt of {runs('gpt')}; train one with: tinygen train vae"
        in told
    )


def test_both_paths_stand_between_the_images_that_they_join():
    ends = np.stack([np.full((2, 3), 0.1), np.full((2, 3), 0.9)]).astype(np.float32)
    paths = {
        name: Path(np.zeros((4, 1)), np.full((4, 2, 3), ink, np.float32))
        for name, ink in (("straight", 0.3), ("spherical", 0.6))
    }
    title, words, rows = Interpolation(ends, ("one", "other"), paths, "").panel()
    assert title == "From one to other" and "above in a straight line, below on a great circle" in words
    np.testing.assert_array_equal(
        rows[:, :, 0, 0], np.float32([[0.1, *[0.3] * 4, 0.9], [0.1, *[0.6] * 4, 0.9]])
    )
    assert list(interpolate.PATHS) == list(paths)


# traverse


def test_each_dimension_is_changed_alone_from_the_code_of_the_image(runs):
    task = task_of(runs("plain"))
    found = traverse.traverse(task, Traversing(image=4, steps=5, span=2.0, latents=2), rng=generator())
    mu, log_var = task.codes(generator())
    np.testing.assert_allclose(found.kl, metrics.kl_per_dimension(mu, log_var), rtol=1e-6)
    assert found.order.tolist() == sorted(range(3), key=lambda j: -found.kl[j])
    assert found.places.tolist() == [-2, -1, 0, 1, 2] and found.images.shape == (2, 5, 8, 8)
    for row, j in enumerate(found.order[:2]):
        for t, place in enumerate(found.places):
            code = mu[4:5].copy()
            code[0, j] = place
            np.testing.assert_allclose(found.images[row, t], task.model.generate(code).numpy()[0], atol=1e-5)
    np.testing.assert_array_equal(found.ends[0], task.test[4])
    np.testing.assert_allclose(found.ends[1], task.model.generate(mu[4:5]).numpy()[0], atol=1e-5)


def test_a_model_that_is_told_the_label_keeps_that_of_the_image(runs):
    task = task_of(runs("told"))
    found = traverse.traverse(task, Traversing(image=2, steps=3), rng=generator())
    code = task.model.encode(task.test[2:3], task.test_given[2:3])[0].numpy().repeat(3, axis=0)
    code[:, found.order[0]] = [-3, 0, 3]
    expected = task.model.generate(code, task.test_given[[2] * 3]).numpy()
    np.testing.assert_allclose(found.images[0], expected, atol=1e-5)


def planted(codes):
    """What traverse needs of a task on sprites whose posterior means are `codes`."""
    images, factors = sprites(split="test")
    model = VAE(VAEConfig(height=32, width=32, hidden=4, latent=codes.shape[1]), rng=generator())
    log_var = np.zeros_like(codes)
    return SimpleNamespace(
        model=model,
        test=images,
        known=factors,
        given={},
        test_given=np.zeros((len(images), 0), np.float32),
        codes=lambda rng: (codes, log_var),
    )


def sprite_codes():
    """Of the test sprites: x, the angle in degrees, noise, y, the shape; and no word of the scale."""
    shape, _, orientation, x, y = sprites(split="test")[1].T
    angle = np.array(TURNS)[shape] * orientation / SIZES[2]
    noise = generator(1).standard_normal(len(x))
    return np.stack([3.0 * x, angle / 90, noise, -0.1 * y, shape], axis=1)


def test_on_sprites_it_tells_which_dimension_finds_which_factor(monkeypatch):
    found = traverse.traverse(planted(sprite_codes()), Traversing(steps=3), rng=generator())
    assert found.names == list(FACTORS)
    assert found.information.found == [4, None, 1, 0, 3]
    assert [found.finder(j) for j in range(5)] == ["x", "orientation", "", "y", "shape"]
    # An angle above 90 degrees is none of a square's, so it tells of the shape, too.
    assert found.information.gaps == pytest.approx([0.68, 0, 1, 1, 1], abs=0.015)
    table = found.table().split("\n")
    assert table[0].split() == ["KL,", "nats", *FACTORS, "finds"]
    assert [line.split()[0] for line in table[1:6]] == [f"z{j}" for j in found.order]
    (angle,) = (line.split() for line in table if line.strip().startswith("z1 "))
    assert angle[1:] == [f"{found.kl[1]:.2f}", *angle[2:4], "1.00", *angle[5:7], "orientation"]
    assert table[6].split() == [
        "gap",
        *[f"{gap:.2f}" for gap in found.information.gaps],
        "mean",
        f"{found.information.gap:.3f}",
    ]
    assert "orientation within shape" in table[7]
    monkeypatch.setattr(traverse, "WITHIN", {})
    blind = traverse.traverse(planted(sprite_codes()), Traversing(steps=3), rng=generator())
    assert blind.information.shares[1, 2] < 0.6 and "within" not in blind.table()


def test_a_share_a_little_below_0_is_written_as_none():
    assert [traverse.told(x) for x in (-0.004, 0.004, -0.006, 0.995, np.float64(-0.001))] == [
        *("0.00", "0.00", "-0.01", "0.99", "0.00")
    ]


def test_a_traversal_of_sprites_is_drawn_with_its_shares(tmp_path):
    from tinygen.training.traverse_picture import CELL, save_traversal

    found = traverse.traverse(planted(sprite_codes()), Traversing(steps=4, latents=3), rng=generator())
    save_traversal(found, "What it draws", tmp_path / "with.png")
    plain = traverse.Traversal(**{**found.__dict__, "names": [], "information": None})
    save_traversal(plain, "What it draws", tmp_path / "without.png")
    (wide, high), (narrow, _) = size(tmp_path / "with.png"), size(tmp_path / "without.png")
    assert wide >= 5 * CELL + 4 * plots.TILE and narrow < wide - 3 * CELL
    assert high > plots.HEADER + 4 * plots.TILE


def test_traverse_draws_and_tells(runs, capsys):
    lines = run(capsys, "traverse", runs("plain"))
    assert lines[-1] == str(runs("plain") / "traverse.png")
    assert lines[0].split() == ["KL,", "nats", "label", "finds"]
    assert sorted(line.split()[0] for line in lines[1:4]) == ["z0", "z1", "z2"]
    nats = [float(line.split()[1]) for line in lines[1:4]]
    assert nats == sorted(nats, reverse=True)
    assert re.fullmatch(r" *gap +[\d.]+ +mean [\d.]+", lines[4])
    wide, high = size(lines[-1])
    assert wide > 9 * plots.TILE and high > plots.HEADER + 4 * plots.TILE
    assert lines[:-1] == run(capsys, "traverse", runs("plain"), "--image", 5)[:-1]  # of all images


def test_without_labels_or_with_few_images_nothing_is_told_of_factors(runs, tmp_path, capsys):
    lines = run(capsys, "traverse", runs("mine"), "--picture", tmp_path / "there.png", "--latents", 1)
    assert lines[0].split() == ["KL,", "nats"] and len(lines) == 5
    size(tmp_path / "there.png")
    task = task_of(runs("plain"))
    task.test, task.test_given, task.known = task.test[:99], task.test_given[:99], task.known[:99]
    assert traverse.traverse(task, Traversing(), rng=generator()).information is None
    task = task_of(runs("plain"))
    task.known = np.full_like(task.known, 3)
    assert traverse.traverse(task, Traversing(), rng=generator()).information is None


def test_what_cannot_be_traversed_is_told(runs, capsys):
    told = refused(capsys, "traverse", runs("plain"), "--image", 297)
    assert "image: expected a test image from 0 to 296, got 297; choose another" in told
    told = refused(capsys, "traverse", runs("plain"), "--span", 0)
    assert "span: expected a number above 0, got 0.0" in told
    assert "did you mean --latents?" in refused(capsys, "traverse", runs("plain"), "--latent", 2)
    assert "traverse: expected a VAE, got the gpt of" in refused(capsys, "traverse", runs("gpt"))
    assert "traverse: expected a run folder, got none" in refused(capsys, "traverse")


def test_what_is_written_beside_a_row_of_a_traversal_is_of_that_dimension(monkeypatch):
    from tinygen.training import traverse_picture

    figures = []
    monkeypatch.setattr(traverse_picture, "save_figure", lambda figure, path: figures.append(figure))
    shares = np.array([[0.11, 0.12], [0.91, 0.22], [0.31, 0.82]])
    found = Traversal(
        number=4,
        ends=np.zeros((2, 8, 8), np.float32),
        places=np.linspace(-3, 3, 5),
        order=np.array([2, 0, 1]),
        kl=np.array([0.5, 0.25, 3.75]),
        images=np.zeros((2, 5, 8, 8), np.float32),
        names=["shape", "scale"],
        information=metrics.Information(shares, np.full((3, 2), 0.001), np.ones(2)),
    )
    traverse_picture.save_traversal(found, "What it draws", None)
    (figure,) = figures
    beside = sorted(figure.texts, key=lambda text: -text.get_position()[1])
    words = [text.get_text() for text in beside]
    assert [word for word in words if re.fullmatch(r"z\d", word)] == ["z2", "z0"]
    assert [word for word in words if word.endswith(" nats")] == ["3.75 nats", "0.50 nats"]
    assert [word for word in words if word.startswith("gap")] == ["gap 0.60", "gap 0.60"]
    (axes,) = figure.axes
    told = {text.get_position(): text.get_text() for text in axes.texts}
    assert told == {(0, 0): "0.31", (1, 0): "0.82", (0, 1): "0.11", (1, 1): "0.12"}
    (frame,) = axes.lines  # of z2, which has found the scale; z1, which has found the shape, is not drawn
    np.testing.assert_allclose(frame.get_xydata().mean(axis=0).round(), [1, 0])


# rate and distortion


def test_rate_and_distortion_are_those_of_an_evaluation(runs, capsys):
    names = ["strict", "plain", "loose"]
    lines = run(capsys, "rate-distortion", *map(runs, names))
    assert lines[0].split() == ["run", "beta", "rate", "distortion", "-ELBO"]
    assert [line.split()[0] for line in lines[1:4]] == names  # from the smallest rate
    for line, beta in zip(lines[1:4], (3, 1, 0.3)):
        name, *figures = line.split()
        found = session.evaluated(runs(name))[0]
        kl, rest = found["kl"], found["reconstruction"]
        assert figures == [f"{beta:g}", f"{kl:.3f}", f"{rest:.3f}", f"{kl + rest:.3f}"]
    assert lines[4] == "(nats an image, cross-entropy with grey pixels, no likelihood)"
    assert lines[5] == str(runs("rate-distortion.png")) and size(lines[5]) == (720, 560)


def test_the_picture_shows_each_run_and_the_best_sum(runs, tmp_path, monkeypatch, capsys):
    figures = []
    monkeypatch.setattr(rate_distortion, "save_figure", lambda figure, path: figures.append((figure, path)))
    lines = run(capsys, "rate-distortion", runs("loose"), runs("plain"), "--picture", tmp_path / "there.png")
    ((figure, path),) = figures
    assert path == tmp_path / "there.png" and lines[-1] == str(path)
    (axes,) = figure.axes
    rows = [[float(x) for x in line.split()[2:]] for line in lines[1:3]]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [row[:2] for row in rows], atol=1e-3)
    assert {text.get_text() for text in axes.texts} == {"β 1", "β 0.3, 0.5 free"}
    for settings, told in (({"samples": 5}, "5 samples"), ({"independence": 2.0}, "independence 2")):
        other = rate_distortion.Point("", VAEConfig(**settings), rate=1.0, distortion=2.0)
        assert other.label == f"β 1, {told}"
    best = min(row[2] for row in rows)
    assert axes.get_legend().get_texts()[0].get_text() == f"rate + distortion = {best:.2f}"
    line = axes.lines[1]
    assert line.get_slope() == -1 and line.get_xy1() == (0, pytest.approx(best, abs=2e-3))


def test_runs_that_cannot_be_compared_are_told(runs, capsys):
    for names, told in (
        (
            ("plain", "bernoulli"),
            r"of one likelihood, got cross-entropy of .*plain and bernoulli of .*bernoulli; lea",
        ),
        (("plain", "told"), r"of one condition, got none of .*plain and label of .*told; leave"),
        (
            ("plain", "mine"),
            r"of one data set, got digits \(\w{8}\) of .*plain and /.*mine.npz \(\w{8}\) of .*mine;",
        ),
        (
            ("plain",),
            r"expected two or more different runs, got .*plain; do: tinygen rate-distortion RUN RUN",
        ),
        (("plain", "loose", "plain"), "expected two or more different runs, got"),
        (("plain", "plain/../plain"), "expected two or more different runs, got"),
        (("plain", "gpt"), "rate-distortion: expected a VAE, got the gpt of"),
        ((), "expected two or more different runs, got none; do: tinygen rate-distortion RUN RUN ..."),
    ):
        assert re.search(told, refused(capsys, "rate-distortion", *map(runs, names)))
    assert "did you mean --picture?" in refused(capsys, "rate-distortion", "--pictur", "x")


def test_each_point_has_its_own_label_and_stands_at_its_rate_and_distortion(monkeypatch):
    figures = []
    monkeypatch.setattr(rate_distortion, "save_figure", lambda figure, path: figures.append(figure))
    points = [
        rate_distortion.Point("a", VAEConfig(beta=beta), rate=rate, distortion=distortion)
        for beta, rate, distortion in ((0.5, 30.0, 60.0), (4.0, 10.0, 90.0), (1.0, 20.0, 70.0))
    ]
    rate_distortion.save_rate_distortion(points, "words", None)
    told = {text.get_text(): text.xy for text in figures[0].axes[0].texts}
    assert told == {"\u03b2 0.5": (30, 60), "\u03b2 4": (10, 90), "\u03b2 1": (20, 70)}


# which weights


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """Two runs whose best weights are no more those of their last step."""
    out = tmp_path_factory.mktemp("spoilt")
    for seed, name in enumerate(("one", "other")):
        settings = {"hidden": 8, "latent": 2, "steps": 2, "seed": seed}
        begun = Session.begin("vae", settings, out=out, name=name)
        begun.train()
        begun.run.save_best({n: array * 2 for n, array in begun.run.weights().items()})
    return out


@pytest.mark.parametrize(
    "command, operands",
    [("evaluate", []), ("interpolate", ["1", "2"]), ("traverse", []), ("rate-distortion", ["other"])],
)
def test_a_command_takes_the_weights_of_the_checkpoint_that_it_is_told(spoilt, capsys, command, operands):
    argv = [command, spoilt / "one", *(spoilt / word if word == "other" else word for word in operands)]
    usual, last, best = (
        run(capsys, *argv, *more) for more in ([], ["--checkpoint", "last"], ["--checkpoint", "best"])
    )
    assert usual == last != best


def test_a_sample_is_of_the_weights_that_it_is_told(spoilt):
    pictures = []
    for which in ("last", "best", "last"):
        assert main(["sample", str(spoilt / "one"), "--checkpoint", which]) == 0
        pictures.append((spoilt / "one" / "samples-0.png").read_bytes())
    assert pictures[0] == pictures[2] != pictures[1]
