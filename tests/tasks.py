"""Small tasks for the tests of training: a network with all that a checkpoint must hold, and two players."""

import numpy as np

import tinygen as tg
from tinygen import data, nn
from tinygen.training import Player, stream
from tinygen.training.task import means

ROWS, FEATURES = 46, 3


class Regressor(nn.Module):
    """A network with running statistics and with layers that draw for themselves."""

    def __init__(self, *, rng):
        self.first = nn.Linear(FEATURES, 8, rng=rng)
        self.norm = nn.BatchNorm(8)
        self.drop = nn.Dropout(0.3, rng=rng)
        self.last = nn.Linear(8, 1, rng=rng)

    def forward(self, x):
        return self.last(self.drop(tg.tanh(self.norm(self.first(x)))))


class Regression:
    """Guess a number from three. Noise is added to the inputs, to have some."""

    monitor, unit = "loss", "squared units"

    def __init__(self, config, *, plain=False):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((ROWS, FEATURES), dtype=np.float32)
        y = (x[:, :1] * x[:, 1:2] + 0.1).astype(np.float32)
        self.test = x[:10], y[:10]
        self.x, self.y = x[10:], y[10:]
        make = rng if plain else stream(config.seed, "weights")
        self.model = nn.Linear(FEATURES, 1, rng=make) if plain else Regressor(rng=make)
        self.players = (Player("model", self.model, self.loss),)
        self.minibatches = data.Minibatches(
            self.x, self.y, size=config.batch, rng=lambda epoch: stream(config.seed, "order", epoch)
        )
        self.steps_per_epoch = len(self.minibatches)
        self.batch = self.minibatches.at

    def loss(self, batch, rng):
        x, y = batch
        noise = rng.standard_normal(x.shape, dtype=np.float32) * np.float32(0.1)
        error = self.model(x + noise) - y
        return (error * error).mean(), {"distance": tg.abs(error).mean()}

    def evaluate(self, rng):
        return means(self.players[0], data.in_order(*self.test, size=4), rng)

    def samples(self, path, rng):
        path.with_suffix(".txt").write_text(f"{rng.random()}\n")


class Pair(nn.Module):
    """Two networks in one module."""

    def __init__(self, *, rng):
        self.generator = nn.Linear(2, 2, rng=rng)
        self.critic = nn.Sequential(
            *(nn.Linear(2, 6, rng=rng), nn.Dropout(0.2, rng=rng), nn.Tanh()),
            *(nn.Dropout(0.2, rng=rng), nn.Linear(6, 1, rng=rng)),
        )


class Duel:
    """Two players, each with a loss of its own: a small GAN on eight points of a circle."""

    monitor, unit = "loss", "nats"

    def __init__(self, config):
        self.model = Pair(rng=stream(config.seed, "weights"))
        self.players = (
            Player("critic", self.model.critic, self.criticise),
            Player("generator", self.model.generator, self.deceive),
        )
        angles = np.arange(8) * np.float32(np.pi / 4)
        self.points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        self.minibatches = data.Minibatches(
            self.points, size=config.batch, rng=lambda epoch: stream(config.seed, "order", epoch)
        )
        self.steps_per_epoch = len(self.minibatches)
        self.batch = self.minibatches.at

    def fake(self, count, rng):
        return self.model.generator(rng.standard_normal((count, 2), dtype=np.float32))

    def criticise(self, batch, rng):
        (real,) = batch
        fake = tg.stop_gradient(self.fake(len(real), rng))
        return (tg.softplus(-self.model.critic(real)) + tg.softplus(self.model.critic(fake))).mean(), {}

    def deceive(self, batch, rng):
        return tg.softplus(-self.model.critic(self.fake(len(batch[0]), rng))).mean(), {}

    def evaluate(self, rng):
        return {"loss": float(np.square(self.fake(20, rng).numpy()).mean())}

    def samples(self, path, rng):
        path.with_suffix(".txt").write_text("nothing to see\n")
