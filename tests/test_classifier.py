"""The classifier: its loss by hand and by PyTorch, what its training tells and draws, and what it refuses."""

import gc

import numpy as np
import pytest
from watched import seen as seen_dtypes
from watched import watched

import tinygen as tg
from tinygen.cli import main
from tinygen.metrics.features import AT_ONCE, seen
from tinygen.models import Classifier, ClassifierConfig
from tinygen.optim import Adam
from tinygen.training import Session, session
from tinygen.training.classifier_task import ClassifierTask, _mistakes, confusions

SMALL = {"height": 7, "width": 6, "classes": (3, 2), "channels": 4, "hidden": 5, "dropout": 0.0}


def generator(seed=0):
    return np.random.default_rng(seed)


def model_and_batch(count=6, dtype=np.float64, **options):
    """A Classifier, images, and what is known of them."""
    config = ClassifierConfig(**{**SMALL, **options})
    model = Classifier(config, rng=generator()).astype(dtype)
    x = generator(1).random((count, config.height, config.width)).astype(dtype)
    known = generator(2).integers(0, config.classes, (count, len(config.classes)))
    return model, x, known


# the model


def test_loss_and_gradients_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    model, x, known = model_and_batch()
    loss, logits = model.loss(x, known)
    loss.backward()
    w = {name: torch.tensor(array, requires_grad=True) for name, array in model.state_dict().items()}
    h = torch.tensor(x)[:, None]
    for i in ("0",):  # 7 x 6 is halved once
        h = torch.nn.functional.conv2d(
            h, w[f"encoder.convolutions.{i}.weight"], w[f"encoder.convolutions.{i}.bias"], stride=2, padding=1
        ).relu()
    features = (h.flatten(1) @ w["encoder.features.0.weight"].T + w["encoder.features.0.bias"]).relu()
    np.testing.assert_allclose(model.features(x).numpy(), features.detach().numpy(), rtol=1e-12)
    guess = features @ w["guess.weight"].T + w["guess.bias"]
    parts = guess.split((3, 2), dim=1)
    expected = sum(
        torch.nn.functional.cross_entropy(part, torch.tensor(known[:, f])) for f, part in enumerate(parts)
    )
    expected.backward()
    assert float(loss.numpy()) == pytest.approx(expected.item(), rel=1e-12)
    for part, mine in zip(parts, logits):
        np.testing.assert_allclose(mine.numpy(), part.detach().numpy(), rtol=1e-12)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            parameter.grad.numpy(), w[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )


def test_a_network_that_knows_nothing_is_as_surprised_as_there_are_values():
    model, x, known = model_and_batch()
    model.guess.weight.assign(np.zeros((5, 5)))
    model.guess.bias.assign(np.zeros(5))
    assert float(model.loss(x, known)[0].numpy()) == pytest.approx(np.log(3) + np.log(2), rel=1e-12)


def test_its_gradient_is_exact_to_second_order():
    model, x, known = model_and_batch(count=2)
    bias = model.encoder.features[0].bias.numpy() + 0.5  # away from the kinks

    def loss(b):
        model.encoder.features[0].bias = b
        return model.loss(x, known)[0]

    tg.testing.gradcheck(loss, bias)


@pytest.mark.parametrize("height, width", [(8, 8), (28, 28), (32, 32), (5, 9), (3, 3)])
def test_images_of_any_size_have_features_of_which_each_pixel_is_part(height, width):
    model, x, _ = model_and_batch(count=1, height=height, width=width, hidden=24, channels=8)
    assert model.features(x).shape == (1, 24) and [part.shape for part in model(x)] == [(1, 3), (1, 2)]
    assert (model.features(x).numpy() >= 0).all()
    sensitivity = np.asarray(tg.grad(lambda x: sum((part**2).sum() for part in model(x)))(x))
    assert (sensitivity != 0).all()


def test_features_are_left_out_in_training_alone():
    model, x, known = model_and_batch(dropout=0.5)
    losses = {float(model.loss(x, known)[0].numpy()) for _ in range(5)}
    model.eval()
    assert len(losses) == 5
    assert len({float(model.loss(x, known)[0].numpy()) for _ in range(5)}) == 1
    assert float(model.loss(x, known)[0].numpy()) not in losses


def test_a_handful_of_images_is_learnt_and_the_same_seed_learns_the_same():
    found = []
    for _ in range(2):
        model, x, known = model_and_batch(count=8, dtype=np.float32, hidden=32, channels=8)
        optimizer, losses = Adam(model.parameters(), lr=1e-2), []
        for _ in range(60):
            optimizer.zero_grad()
            loss, _ = model.loss(x, known)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.numpy()))
        found.append(losses)
    assert found[0] == found[1] and found[0][-1] < 0.05 < 1 < found[0][0]


def test_a_step_makes_no_float64_and_leaves_nothing_behind():
    model, x, known = model_and_batch(dtype=np.float32, dropout=0.3)
    optimizer = Adam(model.parameters(), lr=1e-3)

    def step(x):
        optimizer.zero_grad()
        model.loss(x, known)[0].backward()
        optimizer.step()

    step(x)
    gc.collect()
    seen_dtypes.clear()
    step(watched(x))
    assert "float32" in seen_dtypes and "float64" not in seen_dtypes
    assert gc.collect() == 0


def test_mistakes_of_the_model_are_told():
    model, x, known = model_and_batch()
    for bad in (x[:, :5], x[0], x[:, None]):
        with pytest.raises(
            ValueError, match=r"Classifier: expected images of shape \(B, 7, 6\), got .*on such"
        ):
            model(bad)
    for bad in (known[:, 0], known[:3], known[:, :1]):
        with pytest.raises(
            ValueError, match=r"Classifier.loss: expected \(6, 2\) whole numbers, got .*a factor"
        ):
            model.loss(x, bad)
    for bad in ((), (1, 3), (2.5,)):
        with pytest.raises(
            ValueError, match=r"classes: expected at least 2 values .*; give images of several"
        ):
            ClassifierConfig(classes=bad)
    with pytest.raises(ValueError, match="hidden: expected at least 1, got 0"):
        ClassifierConfig(hidden=0)
    assert ClassifierConfig(classes=[4, 5]) == ClassifierConfig(classes=(4, 5))


# what it sees


def test_what_it_sees_does_not_depend_on_how_many_images_there_are():
    model, _, _ = model_and_batch(dtype=np.float32)
    model.eval()
    x = generator(5).random((AT_ONCE + 3, 7, 6), dtype=np.float32)
    features, guesses = seen(model, x)
    assert features.shape == (AT_ONCE + 3, 5) and features.dtype == np.float32
    assert [part.shape for part in guesses] == [(AT_ONCE + 3, 3), (AT_ONCE + 3, 2)]
    np.testing.assert_allclose(sum(part.sum() for part in guesses), 2 * (AT_ONCE + 3), rtol=1e-5)
    for i in (0, AT_ONCE - 1, AT_ONCE, AT_ONCE + 2):
        alone, guess = seen(model, x[i : i + 1])
        np.testing.assert_allclose(features[i], alone[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(guesses[1][i], guess[1][0], rtol=1e-5)
    logits = model(x)[0].numpy().astype(np.float64)
    weights = np.exp(logits)
    np.testing.assert_allclose(guesses[0], weights / weights.sum(axis=1, keepdims=True), rtol=1e-5)


# how it is trained

for library in ("sklearn", "matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(library)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the small digits, of a few seconds."""
    begun = Session.begin("classifier", {"data": "digits", "epochs": 12}, out=tmp_path_factory.mktemp("runs"))
    with tg.kernels.use("numba", threads=1):  # the same, and sooner where others compute, too
        begun.train()
    return begun.run


def test_the_digits_are_learnt_and_evaluate_tells_what_is_taken_for_what(trained, capsys):
    row = trained.metrics()[-1]
    assert row["test_accuracy"] > 0.93 and row["train_accuracy"] > 0.85
    assert main(["evaluate", str(trained.folder)]) == 0
    shown = capsys.readouterr().out
    task = session.trained_with_data(trained.folder)[1]
    wrong = seen(task.model, task.test)[1][0].argmax(axis=1) != task.test_known[:, 0]
    assert f"(label: {wrong.sum()} of 297 wrong; most often " in shown
    assert f"accuracy         {1 - wrong.mean():.6g}\n" in shown
    assert float(row["test_accuracy"]) == pytest.approx(1 - wrong.mean(), rel=1e-6)


def test_it_makes_nothing(trained, capsys):
    assert main(["sample", str(trained.folder)]) == 2
    assert "sample: expected a model that makes something, got the classifier of" in capsys.readouterr().err


def test_after_training_the_next_command_is_one_that_it_knows(tmp_path, capsys):
    assert (
        main(
            ["train", "classifier", "--steps", "2", "--warmup", "0", "--out", str(tmp_path), "--name", "run"]
        )
        == 0
    )
    assert f"more: tinygen evaluate {tmp_path / 'run'}\n" in capsys.readouterr().out


def test_several_factors_are_learnt_at_once_and_told_one_by_one(tmp_path):
    rng = generator()
    known = rng.integers(0, (2, 3), (300, 2))
    images = np.zeros((300, 6, 6), np.float32)
    images[np.arange(300), known[:, 0] * 3, known[:, 1] * 2] = 1
    task = ClassifierTask(
        Classifier(ClassifierConfig(height=6, width=6, classes=(2, 3), hidden=16), rng=rng), ["up", "left"]
    )
    task.test, task.test_known = images, known
    task.model.eval()
    before = task.measure(generator())
    optimizer = Adam(task.model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        task.loss((images, known), generator())[0].backward()
        optimizer.step()
    after = task.measure(generator())
    assert before["accuracy"] < 0.8 and after["accuracy"] == 1
    assert task.remarks == ("up: 0 of 300 wrong", "left: 0 of 300 wrong")
    task.samples(tmp_path / "000001", generator())
    assert (tmp_path / "000001.png").stat().st_size > 1000


def test_accuracy_is_the_share_over_all_factors():
    task = ClassifierTask(
        Classifier(ClassifierConfig(height=4, width=4, classes=(2, 3)), rng=generator()), ["up", "left"]
    )
    guesses = np.eye(2)[[0, 1, 0, 0]], np.eye(3)[[2, 1, 0, 0]]
    task.model.loss = lambda images, known: (0.0, [tg.tensor(logits) for logits in guesses])
    known = np.array([[0, 2], [1, 1], [0, 1], [1, 2]])  # 3 of 4, and 2 of 4, are guessed
    assert task.loss((None, known), generator())[1]["accuracy"] == 5 / 8


def test_mistakes_are_counted_by_pairs():
    known, taken = np.array([0, 1, 1, 1, 2, 2, 0, 0]), np.array([0, 2, 2, 0, 1, 2, 1, 0])
    told = "digit: 5 of 8 wrong; most often 1 taken for 2 (2), 0 taken for 1 (1), 1 taken for 0 (1)"
    assert _mistakes("digit", known, taken) == told


def test_a_picture_has_a_row_for_a_class_and_a_column_for_a_guess():
    images = np.arange(1, 6, dtype=np.float32)[:, None, None] * np.ones((5, 2, 2), np.float32)
    known, guesses = (
        np.array([0, 0, 0, 1, 7]),
        np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [1, 0]]),
    )
    found = confusions(images, known, guesses)
    assert found[..., 0, 0].tolist() == [[2, 3], [0, 4]] and found.shape == (2, 2, 2, 2)


def test_images_without_labels_are_refused_and_labelled_ones_of_ones_own_are_learnt(tmp_path):
    x, y = generator().random((40, 5, 5), dtype=np.float32), np.arange(40) % 3
    np.savez(tmp_path / "bare.npz", images=x)
    np.savez(tmp_path / "good.npz", images=x, labels=y)
    with pytest.raises(
        ValueError, match=r"bare.npz: expected images with labels to learn, got none; give a folder"
    ):
        session.prepared("classifier", {"data": str(tmp_path / "bare.npz")})
    np.savez(tmp_path / "negative.npz", images=x, labels=y - 1)
    with pytest.raises(ValueError, match=r"expected labels from 0 on, got -1; number them from 0"):
        session.prepared("classifier", {"data": str(tmp_path / "negative.npz")})
    settings = {"data": str(tmp_path / "good.npz"), "steps": 1, "warmup": 0}
    task, *_ = session.prepared("classifier", settings)
    assert task.model.config.classes == (3,) and task.names == ["label"]


def test_other_images_are_refused_where_something_else_is_known():
    task = ClassifierTask(model_and_batch()[0], ["label"])
    info = {"shape": [8, 8], "known": {"label": 10}}
    task.check(info, {**info, "known": {"label": 3}})
    with pytest.raises(ValueError, match=r"expected images of shape \[8, 8\], got \[9, 8\]"):
        task.check(info, {**info, "shape": [9, 8]})
    for known in ({"label": 11}, {"shape": 3}, {"label": 10, "more": 2}):
        with pytest.raises(ValueError, match=r"of which at most is known: {'label': 10}, got {"):
            task.check(info, {**info, "known": known})
