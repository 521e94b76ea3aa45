"""Tasks on images: which data fit a run, what a conditional model is told, and what is shown in the end."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tinygen import data
from tinygen.cli import main
from tinygen.models import VAE, VAEConfig
from tinygen.training import Run, Session, plots, session, vae_pictures
from tinygen.training.image_task import described
from tinygen.training.vae_task import VAETask

for library in ("matplotlib", "safetensors", "tqdm", "PIL"):
    pytest.importorskip(library)

pytestmark = pytest.mark.filterwarnings("ignore:.*has collapsed")  # so short a training has yet to begin


def generator(seed=0):
    return np.random.default_rng(seed)


def images(levels=17, count=60, size=(4, 4)):
    drawn = generator(levels).integers(0, levels, (count, *size))
    drawn[:, 0, 0] = np.where(np.arange(count) % 2, 1, levels - 1)  # those of each split have all levels
    return (drawn / (levels - 1)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data sets of 60 images, and small runs on them."""
    out = tmp_path_factory.mktemp("runs")
    labels = np.arange(60) % 3
    for name, arrays in {
        "grey": {"images": images(), "labels": labels},
        "unlabelled": {"images": images()},
        "fewer": {"images": images(), "labels": labels % 2},
        "more": {"images": images(), "labels": labels + 1},
        "negative": {"images": images(), "labels": labels - 1},
        "bits": {"images": images(2), "labels": labels},
        "finer": {"images": images(256), "labels": labels},
        "wide": {"images": images(size=(4, 5)), "labels": labels},
    }.items():
        np.savez(out / f"{name}.npz", **arrays)
    common = {"data": str(out / "grey.npz"), "steps": 2, "lr": 1e-3}
    for name, model, settings in (
        ("plain", "vae", {}),
        ("told", "vae", {"condition": "label", "likelihood": "logistic"}),
        ("bernoulli", "vae", {"likelihood": "bernoulli"}),
        ("grid", "vqvae", {"likelihood": "gaussian", "channels": 4, "codes": 8}),
    ):
        own = {"hidden": 6, "latent": 2} if model == "vae" else {}
        Session.begin(model, {**common, **own, **settings}, out=out, name=name).train()
    return out


def evaluate(place, run, other, capsys):
    """The exit code, and what is said."""
    argv = ["evaluate", str(place / run), "--data", str(place / f"{other}.npz"), "--json"]
    argv += [] if run == "grid" else ["--samples", "3"]
    return main(argv), capsys.readouterr()


# which data fit


@pytest.mark.parametrize(
    "run, other",
    [
        *(("plain", other) for other in ("unlabelled", "more", "bits", "finer")),
        *(("told", other) for other in ("fewer", "bits")),
        ("bernoulli", "finer"),
        ("grid", "bits"),
    ],
)
def test_other_images_are_measured_where_the_figures_mean_the_same(place, run, other, capsys):
    code, shown = evaluate(place, run, other, capsys)
    assert code == 0 and np.isfinite(json.loads(shown.out)["loss"])


@pytest.mark.parametrize(
    "run, other, told",
    [
        ("plain", "wide", "expected images of shape [4, 4], got [4, 5]; give data like"),
        ("grid", "wide", "expected images of shape [4, 4], got [4, 5]; give data like"),
        ("told", "finer", "expected images of 17 grey levels, got 256; give data like"),
        ("grid", "finer", "expected images of 17 grey levels, got 256; give data like"),
        ("told", "more", "expected label from 0 to 2, got up to 3; give data like"),
        ("told", "unlabelled", "condition: expected data with labels, got"),
        ("told", "negative", "one_hot: expected values from 0 to 2, got -1; number them from 0"),
    ],
)
def test_other_images_are_refused_where_they_do_not(place, run, other, told, capsys):
    code, shown = evaluate(place, run, other, capsys)
    assert code == 2 and told in shown.err


def test_the_levels_are_those_of_all_images():
    two, many = images(2), images(17)
    for train, test, levels in ((two, two, 2), (two, many, 17), (many, two, 17), (many, images(256), 256)):
        assert described(train, test)["levels"] == levels
    late = np.concatenate([images(2, count=1500), images(256, count=2)])
    assert data.grey_levels(late) == 256 and data.grey_levels(late[:1500]) == 2
    assert data.grey_levels(np.full((3, 2, 2), np.nan, np.float32)) == 256


def test_a_class_may_be_in_the_test_images_alone(tmp_path):
    labels = np.zeros(60, np.int64)
    labels[data.splits.rows_of_split(60, split="test", seed=0)[0]] = 4
    np.savez(tmp_path / "one.npz", images=images(), labels=labels)
    settings = {"data": str(tmp_path / "one.npz"), "condition": "label", "hidden": 4, "steps": 1}
    task, *_ = session.prepared("vae", settings)
    assert task.given == {"label": 5} and task.minibatches.arrays[1].shape == (54, 5)
    assert task.test_given.sum(axis=0).tolist() == [5, 0, 0, 0, 1]
    np.savez(tmp_path / "none.npz", images=images())
    with pytest.raises(ValueError, match=r"condition: expected data with labels, got .*none.npz, which have"):
        session.prepared("vae", {**settings, "data": str(tmp_path / "none.npz")})


def test_rows_of_ones_are_of_whole_numbers_in_range():
    rows = data.one_hot(np.array([[0, 2], [1, 0]]), [2, 3])
    assert rows.tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]] and rows.dtype == np.float32
    for values, told in (
        ([[0], [1]], r"values \(N, 2\), got \(2, 1\); one for each size"),
        ([[0, 3]], "values from 0 to 2, got 3; number them from 0"),
        ([[0.0, 1.0]], "whole numbers, got float64; convert them"),
    ):
        with pytest.raises(ValueError, match=f"one_hot: expected {told}"):
            data.one_hot(values, [2, 3])


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_images_of_one_pixel_are_images(tmp_path, network):
    np.savez(tmp_path / "dots.npz", images=images(2, size=(1, 1)))
    settings = {"data": str(tmp_path / "dots.npz"), "network": network, "likelihood": "logistic", "hidden": 4}
    begun = Session.begin("vae", {**settings, "latent": 1, "steps": 2}, out=tmp_path)
    begun.finish(begun.lead(begun.train()[1]))
    assert begun.run.path("samples.png").stat().st_size > 1000
    assert begun.run.metrics()[-1]["test_reconstruction"] > 0


def test_a_run_of_an_earlier_version_is_told_as_such(place, tmp_path):
    run = Run.open(place / "plain")
    old = run.config()
    del old["data"]["levels"], old["vae"]["levels"]
    (tmp_path / "old").mkdir()
    Run(tmp_path / "old").save_config(old)
    with pytest.raises(ValueError, match=r"or one of another version .*'levels'.*; train it again"):
        session.rebuilt(Run.open(tmp_path / "old"))


def test_a_single_image_has_no_error_of_the_mean(place, capsys):
    for count, there in (("1", False), ("2", True)):
        argv = ["evaluate", str(place / "bernoulli"), "--samples", "5", "--images", count, "--json"]
        assert main(argv) == 0
        assert ("nll_error" in json.loads(capsys.readouterr().out)) == there


def test_the_order_of_conditions_does_not_matter_to_a_comparison(place, tmp_path, capsys):
    from tinygen.training.rate_distortion import KINDS

    told = KINDS["condition"]
    assert told({"data": {"given": {"shape": 3, "scale": 4}}}) == "scale, shape"
    assert told({"data": {"given": {"scale": 4, "shape": 3}}}) == "scale, shape"
    assert told({"data": {"given": {}}}) == "none"


@pytest.mark.parametrize(
    "ours, theirs, fit", [(17, 17, True), (17, 2, True), (256, 2, True), (256, 17, False), (2, 17, False)]
)
def test_levels_fit_where_each_of_theirs_is_one_of_ours(ours, theirs, fit):
    task = VAETask(VAE(VAEConfig(likelihood="logistic", levels=ours), rng=generator()), {})
    mine, other = ({"shape": [8, 8], "levels": levels, "given": {}} for levels in (ours, theirs))
    if fit:
        task.check(mine, other)
    else:
        with pytest.raises(ValueError, match=f"expected images of {ours} grey levels, got {theirs}"):
            task.check(mine, other)


# what is shown


class Drawn:
    """A model whose images are their codes' first number, and the label that it is told."""

    shape = 1, 2

    def noise(self, count, *, rng):
        return np.arange(1, count + 1, dtype=np.float32)[:, None]

    def generate(self, z, c):
        labels = np.full(len(z), -1) if c is None or not c.shape[1] else c @ np.arange(c.shape[1])
        self.c = c
        return Images(np.stack([z[:, 0], labels], axis=1)[:, None].astype(np.float32))


class Images(np.ndarray):
    def __new__(cls, array):
        return array.view(cls)

    def numpy(self):
        return np.asarray(self)


def test_samples_stand_in_rows_and_what_is_missing_is_blank():
    _, words, panel = vae_pictures.sample_panel(Drawn(), {}, None, count=100, rng=generator())
    assert panel.shape == (10, 10, 1, 2) and words == "decoded from random codes z ~ N(0, I)"
    assert panel[..., 0].ravel().tolist() == list(range(1, 101)) and (panel[..., 1] == -1).all()
    _, _, panel = vae_pictures.sample_panel(Drawn(), {}, None, count=9, rng=generator())
    assert panel[..., 0].reshape(-1).tolist() == [*range(1, 10), *[0] * 7]


def test_of_one_condition_a_column_has_a_value_and_a_row_a_code():
    _, words, panel = vae_pictures.sample_panel(Drawn(), {"label": 3}, None, count=7, rng=generator())
    assert panel[:, :, 0, 0].tolist() == [[1, 1, 1], [2, 2, 2], [3, 0, 0]]
    assert panel[:, :, 0, 1].tolist() == [[0, 1, 2], [0, 1, 2], [0, 0, 0]]
    assert words == "a row has one random code, a column one label"


def test_of_several_conditions_all_are_drawn_and_what_is_asked_for_is_held():
    model, given = Drawn(), {"shape": 2, "scale": 3}
    _, words, _ = vae_pictures.sample_panel(model, given, None, count=90, rng=generator())
    assert words.endswith(", and of random shape and scale")
    assert len(np.unique(model.c, axis=0)) == 6 and (model.c.sum(axis=1) == 2).all()
    _, words, _ = vae_pictures.sample_panel(model, given, np.array([[1, 2]]), count=5, rng=generator())
    assert words.endswith(", given shape 1, scale 2") and (model.c == [0, 1, 0, 0, 1]).all()


def test_pairs_stand_close_together():
    above, below = np.arange(6.0).reshape(6, 1, 1), np.arange(10.0, 16).reshape(6, 1, 1)
    assert plots.in_pairs(above, below, 3)[..., 0, 0].tolist() == [
        [[0, 1, 2], [10, 11, 12]],
        [[3, 4, 5], [13, 14, 15]],
    ]


def panels(place, run):
    _, task, _ = session.trained_with_data(place / run)
    return task, vae_pictures.panels(task, rng=generator())


def test_the_picture_of_the_end_has_a_walk_only_where_there_is_one_space_of_codes(place):
    task, found = panels(place, "plain")  # of two dimensions: the whole plane
    assert [panel[0] for panel in found] == ["Reconstructions", "Samples", "All codes"]
    pairs, model = found[0][2], task.model
    assert pairs.shape == (4, 2, 8, 4, 4)
    np.testing.assert_array_equal(pairs[:, 0].reshape(-1, 4, 4)[:7], task.test[[0, 1, 2, 3, 4, 5, 0]])
    decoded = model.generate(model.encode(task.test)[0]).numpy()
    np.testing.assert_allclose(pairs[0, 1, :6], decoded, rtol=1e-5)
    task, found = panels(place, "told")
    assert [panel[0] for panel in found] == ["Reconstructions", "Samples"] and found[1][2].shape[1] == 3
    decoded = task.model.generate(task.model.encode(task.test, task.test_given)[0], task.test_given).numpy()
    np.testing.assert_allclose(found[0][2][0, 1, :6], decoded, rtol=1e-5)


def test_a_walk_leads_from_class_to_class_whichever_there_are():
    class Codes:
        shape = 1, 1

        def generate(self, z):
            return Images(z[:, :1, None])

    mu = np.float32([[0, 9], [2, 9], [1, 9], [8, 9], [31, 9]])
    _, words, walk = vae_pictures._walk(Codes(), mu, np.array([3, 3, 3, 7, 9]))
    places = walk.reshape(-1)
    assert words == "in straight lines from 3 to 9" and walk.shape == (8, 8, 1, 1)
    np.testing.assert_allclose(places, np.interp(np.linspace(0, 2, 64), [0, 1, 2], [1, 8, 31]), rtol=1e-5)
    for stops, labels in ((mu[:1], None), (mu[:3], np.zeros(3))):
        assert (vae_pictures._walk(Codes(), stops, labels)[2] == stops.mean(axis=0)[0]).all()
    _, words, walk = vae_pictures._walk(Codes(), mu, None)
    assert walk[0, 0] == 0 and walk[-1, -1] == 31 and words.endswith("from one test image to another")


def test_the_plane_of_all_codes_has_its_axes_and_each_row_and_column_the_same_probability():
    drawn = []

    def generate(z):
        drawn.append(z)
        return SimpleNamespace(numpy=lambda: np.zeros((len(z), 1, 1), np.float32))

    vae_pictures._manifold(SimpleNamespace(generate=generate))
    x, y = drawn[0].reshape(8, 8, 2).transpose(2, 0, 1)
    assert (x == x[0]).all() and (y == y[:, :1]).all()  # to the right and upwards
    share = [0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x[0]]
    np.testing.assert_allclose(share, (np.arange(8) + 0.5) / 8, atol=1e-6)
    np.testing.assert_allclose(y[:, 0], -x[0])
