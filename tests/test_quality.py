"""Judges that are trained once and named by their weights, and what they say of good and bad samples."""

import hashlib
import json
import re
import signal

import numpy as np
import pytest
from test_loop import KillAt, Killed

import tinygen as tg
from tinygen import data, metrics
from tinygen.cli import main
from tinygen.metrics.features import seen
from tinygen.training import Session, judges, quality, session
from tinygen.training.classifier_task import ClassifierTask
from tinygen.training.config import TrainingConfig
from tinygen.training.judges import VERSION, judge
from tinygen.training.options import from_settings

for library in ("sklearn", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)

# The SHA-256 of all settings of a version: whoever changes a setting, or a default of one, raises VERSION.
SETTINGS = {1: "959a527aa700278c"}


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache in which the judge of the small digits is trained, once for this file."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch, tg.kernels.use("numba", threads=1):  # the same, and sooner
        patch.setenv("TINYGEN_CACHE", str(folder))
        judge("digits", quiet=True)
    return folder


@pytest.fixture
def digits(cache, monkeypatch):
    """The judge, images to train and to test on."""
    monkeypatch.setenv("TINYGEN_CACHE", str(cache))
    return judge("digits"), data.digits(split="train")[0], data.digits(split="test")[0]


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """An empty cache, and judges that are trained for 9 steps."""
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    settings = {"digits": {"channels": 4, "hidden": 8, "steps": 9, "warmup": 0, "save_seconds": 0}}
    monkeypatch.setattr(ClassifierTask, "settings", settings)
    return tmp_path / "cache" / "classifiers"


def figures(found):
    """Metrics by the name before the bracket."""
    return {name.partition(" (")[0]: value for name, value in found.items()}


# judges


def test_the_judge_of_digits_is_good_at_it_and_kept(digits, cache, capfd):
    by, _, test = digits
    right = seen(by.model, test)[1][0].argmax(axis=1) == data.digits(split="test")[1]
    assert right.mean() > 0.96
    assert [path.name for path in (cache / "classifiers").iterdir()] == [f"digits-v{VERSION}"]
    again = judge("digits")
    assert again.name == by.name and again.model is not by.model
    assert capfd.readouterr().err == ""  # nothing is trained
    assert main(["evaluate", str(cache / "classifiers" / f"digits-v{VERSION}")]) == 0


def test_its_name_has_the_beginning_of_its_checksum(quick):
    by = judge("digits", quiet=True)
    assert re.fullmatch(rf"digits v{VERSION} [0-9a-f]{{8}}", by.name)
    weights = {name: array.copy() for name, array in by.model.state_dict().items()}
    assert session.digest(weights).startswith(by.name.split()[-1])
    assert not by.model.training


def test_it_is_the_same_each_time_and_another_seed_makes_another_name(quick, monkeypatch):
    first = judge("digits", quiet=True)
    quick.joinpath(f"digits-v{VERSION}").rename(quick / "elsewhere")
    with tg.no_grad():  # as in an evaluation
        assert judge("digits", quiet=True).name == first.name
    quick.joinpath(f"digits-v{VERSION}").rename(quick / "elsewhere-too")
    other = {"digits": {**ClassifierTask.settings["digits"], "seed": 1}}
    monkeypatch.setattr(ClassifierTask, "settings", other)
    assert judge("digits", quiet=True).name != first.name


def test_a_training_that_is_interrupted_goes_on_to_the_same_weights(quick, monkeypatch):
    whole = judge("digits", quiet=True).name
    quick.joinpath(f"digits-v{VERSION}").rename(quick / "elsewhere")
    monkeypatch.setattr(judges, "progress", lambda title, quiet: KillAt(4))
    with pytest.raises(Killed):
        judge("digits")
    assert [path.name for path in quick.glob("digits*")] == [f"digits-v{VERSION}-unfinished"]
    monkeypatch.undo()
    monkeypatch.setenv("TINYGEN_CACHE", str(quick.parent))
    assert Session.resume(quick / f"digits-v{VERSION}-unfinished").run.load().state["step"] == 4
    assert judge("digits", quiet=True).name == whole
    assert [path.name for path in quick.glob("digits*")] == [f"digits-v{VERSION}"]


def test_one_that_was_killed_at_once_begins_anew_and_a_damaged_one_is_told(quick):
    unfinished = quick / f"digits-v{VERSION}-unfinished"
    unfinished.mkdir(parents=True)
    judge("digits", quiet=True)
    quick.joinpath(f"digits-v{VERSION}").rename(unfinished)
    for path in unfinished.glob("config.json"):
        path.write_text("{}")
    with pytest.raises(ValueError, match=r"config.json: .*; remove .*-unfinished, and it is trained again"):
        judge("digits")


def test_ctrl_c_stops_it_and_whoever_asked(quick, monkeypatch):
    monkeypatch.setattr(Session, "train", lambda self, shown: (signal.SIGINT, None))
    with pytest.raises(KeyboardInterrupt):
        judge("digits", quiet=True)
    assert not quick.joinpath(f"digits-v{VERSION}").exists()


def test_the_first_time_it_says_what_it_does(quick, capfd):
    judge("digits")
    told = capfd.readouterr().err
    assert f"digits-v{VERSION}: the classifier that judges digits, trained once; Ctrl-C stops" in told


def test_the_settings_of_a_version_never_change():
    told = {}
    for source, settings in ClassifierTask.settings.items():
        task = ClassifierTask
        complete = session.complete({"data": source}, task.settings, {}, task.sources, ())
        model = from_settings(ClassifierTask.model_config, settings)
        told[source] = [vars(from_settings(TrainingConfig, complete)), vars(model)]
    found = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    assert found == SETTINGS[VERSION], "judges of other settings need another version, in judges.py and here"


def test_what_is_damaged_or_cannot_be_written_is_told_with_a_way_out(quick, monkeypatch, tmp_path):
    judge("digits", quiet=True)
    for path in quick.joinpath(f"digits-v{VERSION}").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(
        ValueError, match=rf"damaged.*; remove {quick}/digits-v{VERSION}, and it is trained again"
    ):
        judge("digits")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        OSError, match=r"file/classifiers: expected to write a classifier .*TINYGEN_CACHE to another"
    ):
        judge("digits")


@pytest.mark.parametrize("source", ["ring", "/some/folder"])
def test_there_is_no_judge_of_other_images(source):
    with pytest.raises(
        ValueError, match=rf"judge: expected images of digits, mnist, sprites, got {source}, which"
    ):
        judge(source)


# samples


def judged(samples, train, test, seed=0):
    found, remarks = quality.quality(samples, train, test, judge("digits", quiet=True), generator(seed))
    return figures(found), remarks


def test_real_digits_are_good(digits):
    by, train, test = digits
    samples = train[:297]
    found, remarks = quality.quality(samples, train[297:], test, by, generator())
    label = f"({by.name}, N 297)"
    names = ("FID", "KID", "KID error", "precision", "recall", "density", "coverage", "rarest label")
    assert list(found) == [*(f"{name} {label}" for name in names), "copies (pixels, N 297)"]
    assert all(isinstance(value, float) for value in found.values())
    told = figures(found)
    assert 0 < told["FID"] < 2 and min(told["precision"], told["recall"], told["coverage"]) > 0.85
    assert abs(told["density"] - 1) < 0.15 and told["rarest label"] > 0.05 and told["copies"] < 0.04
    low, high = map(float, re.search(r"from (\S+) to (\S+) in 95 %", remarks[0]).groups())
    assert low < told["KID"] < high and low < 0 < high
    assert all(label in line for line in remarks[:-1]) and "(pixels, N 297)" in remarks[-1]
    assert "all 10 have 5 to 15 %" in remarks[2] and "not all" not in remarks[2]
    assert "training images in place of samples" in remarks[1]


def test_samples_are_compared_with_the_test_images_and_so_are_training_images(digits):
    _, train, test = digits
    found, remarks = judged(test, train, test)
    assert found["FID"] < 1e-9 and found["precision"] == found["recall"] == found["coverage"] == 1
    best = re.search(r"FID (\S+), KID", remarks[1])
    assert 0.2 < float(best.group(1)) < 2  # of training images, and not 0 as of these samples


def test_each_figure_has_the_name_of_what_it_is():
    real, fake = generator().standard_normal((2, 200, 6))
    found, distance = quality._compared(real, 0.5 * fake + 0.3, generator(1))
    near = metrics.neighbourhoods(real, 0.5 * fake + 0.3)
    told = {name: getattr(near, name) for name in ("precision", "recall", "density", "coverage")}
    assert len(set(told.values())) == 4
    told |= {"FID": metrics.fid(real, 0.5 * fake + 0.3), "KID": distance.value, "KID error": distance.error}
    assert found == told


def test_the_unit_of_features_is_that_of_the_test_images(digits, monkeypatch):
    """So samples without any have about as many as their FID, whatever the size of the features."""
    by, train, test = digits
    number = 12

    def planted(model, images):
        rows = 3 * generator(len(images)).standard_normal((len(images), number)) + 5
        return rows * images.any(), seen(model, images)[1]

    samples = np.zeros_like(test)
    monkeypatch.setattr(quality, "seen", planted)
    found, remarks = quality.quality(samples, train, test, by, generator())
    assert figures(found)["FID"] == pytest.approx(number, rel=0.01)
    assert "KID from" in remarks[1] and remarks[1].split("KID ")[-1] not in remarks[0]


def test_each_failure_shows_in_its_own_figures(digits):
    _, train, test = digits
    labels = data.digits(split="train")[1]
    good = judged(train[:297], train[297:], test)[0]
    noise = judged(generator(1).random((297, 8, 8), dtype=np.float32), train, test)[0]
    sevens = train[labels == 7]
    collapsed, remarks = judged(np.resize(sevens[:1], (297, 8, 8)), train[297:], test)
    one_class, _ = judged(np.resize(sevens, (297, 8, 8)), train, test)
    assert noise["FID"] > 10 * good["FID"] and noise["precision"] < 0.2 and noise["recall"] < 0.2
    assert noise["KID"] > 10 * abs(good["KID"])
    assert collapsed["FID"] > 10 * good["FID"] and collapsed["recall"] < 0.05 and collapsed["coverage"] < 0.05
    assert collapsed["rarest label"] == 0 and "7 100.0%" in remarks[2] and "not all 10 have" in remarks[2]
    assert one_class["precision"] > 0.9 and one_class["recall"] < 0.25 and one_class["coverage"] < 0.25


def test_copies_are_told_with_their_original(digits):
    _, train, test = digits
    samples = train[:297].copy()
    found, remarks = judged(samples, train, test)
    assert found["copies"] == 1 and "100.00% of samples" in remarks[-1]
    samples[:250] = test[:250] * 0.9
    samples[250:] = train[1000:1047]
    found, remarks = judged(samples, train, test)
    assert 47 / 297 <= found["copies"] < 60 / 297
    told = re.search(r"sample (\d+) and training image (\d+), 0 apart", remarks[-1])
    sample, image = map(int, told.groups())
    assert sample >= 250 and image == 750 + sample


def test_as_many_are_compared_as_there_are_of_each(digits):
    by, train, test = digits
    found, _ = quality.quality(train[:200], train[200:], test, by, generator())
    assert all("N 200)" in name for name in found)
    once = quality.quality(train, train[:290], test, by, generator())[0]
    assert all("N 290)" in name for name in once)
    assert once == quality.quality(train, train[:290], test, by, generator())[0]


def test_too_few_or_other_images_are_refused(digits):
    by, train, test = digits
    with pytest.raises(ValueError, match="fid: expected at least 65 real rows, got 64; give more"):
        quality.quality(train[:64], train, test, by, generator())
    with pytest.raises(
        ValueError, match=r"Classifier: expected images of shape \(B, 8, 8\), got \(\d+, 9, 8\)"
    ):
        quality.quality(np.zeros((100, 9, 8), np.float32), train, test, by, generator())


# in commands


@pytest.mark.filterwarnings("ignore:.*has collapsed")
@pytest.mark.parametrize(
    "model, settings",
    [
        ("vae", {"likelihood": "bernoulli", "condition": "label", "steps": 20}),
        ("vae", {"steps": 20}),
        ("vqvae", {"channels": 8, "blocks": 1, "codes": 16, "latent": 4, "steps": 20}),
        ("gan", {"channels": 8, "latent": 4, "steps": 20}),
    ],
)
def test_evaluate_judges_what_a_model_of_images_makes(digits, tmp_path, capsys, model, settings):
    by = digits[0]
    begun = Session.begin(model, settings, out=tmp_path, name="run")
    begun.train()
    small = ["--images", "3", "--samples", "2"] if model == "vae" else []
    assert main(["evaluate", str(tmp_path / "run"), "--quality", *small]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"loss  +\S+\n(.*\n)*FID \({by.name}, N 297\) +\S+\n", shown)
    best = re.search(r"\(training images in place of samples \(.*\): FID (\S+), KID", shown)
    assert 0.2 < float(best.group(1)) < 2
    assert "(copies (pixels, N 297): " in shown and f"(label ({by.name}, N 297): 0 " in shown
    assert main(["evaluate", str(tmp_path / "run"), "--quality", "--json", *small]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"KID ({by.name}, N 297)" in found
    assert main(["evaluate", str(tmp_path / "run"), "--json", *small]) == 0
    without = json.loads(capsys.readouterr().out)
    assert without == {name: found[name] for name in without}  # what is judged shifts no other figure
    made = begun.task.made(20, generator())
    assert made.shape == (20, 8, 8) and made.dtype == np.float32 and 0 <= made.min() < made.max() <= 1
    assert made.std(axis=0).max() > 0


@pytest.mark.filterwarnings("ignore:.*has collapsed")
def test_a_model_that_is_told_a_label_makes_images_of_those_of_the_test_images():
    task, *_ = session.prepared("vae", {"condition": "label", "hidden": 8, "steps": 1})
    told = np.concatenate([task.test_given, task.test_given])[:500]
    assert told[:, 3].sum() not in (0, 500)
    expected = task.model.generate(task.model.noise(500, rng=generator()), told).numpy()
    np.testing.assert_allclose(task.made(500, generator()), expected, rtol=1e-5)


def test_a_model_that_makes_no_images_is_not_judged(tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text("abc " * 100)
    small = {"data": str(path), "steps": 1, "warmup": 0, "width": 8, "heads": 2, "context": 8}
    Session.begin("gpt", small, out=tmp_path, name="gpt").train()
    assert main(["evaluate", str(tmp_path / "gpt"), "--quality"]) == 2
    assert "quality: is not used by a gpt, which makes no images; leave it out" in capsys.readouterr().err


def test_images_of_ones_own_have_no_judge_which_is_told_at_once(tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "mine.npz", images=generator().random((40, 8, 8), dtype=np.float32))
    begun = Session.begin("vae", {"data": str(tmp_path / "mine.npz"), "steps": 1}, out=tmp_path, name="run")
    begun.train()
    monkeypatch.setattr(type(begun.task), "measure", None)
    assert main(["evaluate", str(tmp_path / "run"), "--quality"]) == 2
    assert "judge: expected images of digits, mnist, sprites, got" in capsys.readouterr().err
