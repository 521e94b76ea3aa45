"""What it costs to begin: the import, and the first training step ever, in fresh processes.

import     `import tinygen` beside `import numpy`, each a process of its own, taken in turns
VAE, GPT   from the start of Python to the end of the first step, with an empty folder for compiled
           kernels, and in the next process, which finds them there. VAE: 784-400-20, batch 128. GPT: one
           block of width 384 and 6 heads, 8 x 256 tokens of 65 characters. Adam, on random data.
"""

import os
import subprocess
import sys
import tempfile
import time

from . import measure


def seconds(*arguments, **environment):
    """How long a fresh Python took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, env={**os.environ, **environment})
    return time.perf_counter() - start


def records(effort, quick):
    """name -> what goes into the JSON."""
    imports = {
        "tinygen": lambda: seconds("-c", "import tinygen"),
        "NumPy": lambda: seconds("-c", "import numpy"),
    }
    found = {"import": {"unit": "", "seconds": measure.interleave(imports, rounds=effort.rounds)}}
    for step in ("VAE",) if quick else ("VAE", "GPT"):
        with tempfile.TemporaryDirectory() as folder:
            for when, rounds in [("first step ever", 1), ("first step, next process", min(effort.rounds, 5))]:
                times = [seconds("-m", __name__, step, NUMBA_CACHE_DIR=folder) for _ in range(rounds)]
                found[f"{step}, {when}"] = {"unit": "", "seconds": {"tinygen": times}}
    return found


# The steps


def vae():
    import numpy as np

    from tinygen.models.vae import VAE, VAEConfig

    rng = np.random.default_rng(0)
    model = VAE(VAEConfig(height=28, width=28, hidden=400, latent=20), rng=rng)
    x = rng.random((128, 28, 28), np.float32)
    return model.parameters(), lambda: model.loss(x, model.noise(1, len(x), rng=rng))[0]


def gpt(batch=8, time=256, width=384, heads=6, characters=65):
    import numpy as np

    import tinygen as tg
    from tinygen import nn

    rng = np.random.default_rng(0)

    class Block(nn.Module):
        def __init__(self):
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width, rng=rng), nn.Linear(width, width, rng=rng)
            self.up, self.down = nn.Linear(width, 4 * width, rng=rng), nn.Linear(4 * width, width, rng=rng)
            self.head = nn.Linear(width, characters, rng=rng)

        def forward(self, x):
            qkv = self.qkv(self.first(x)).reshape((batch, time, 3, heads, -1)).transpose((2, 0, 3, 1, 4))
            seen = tg.attention(qkv[0], qkv[1], qkv[2], causal=True)
            x = x + self.out(seen.transpose((0, 2, 1, 3)).reshape((batch, time, width)))
            return self.head(x + self.down(tg.gelu(self.up(self.second(x)))))

    block = Block()
    x = rng.standard_normal((batch, time, width), dtype=np.float32)
    targets = rng.integers(0, characters, (batch, time))
    return block.parameters(), lambda: tg.cross_entropy(block(x), targets)


STEPS = {"VAE": vae, "GPT": gpt}


def stepper(name):
    """A function that trains one of STEPS by one step of Adam."""
    from tinygen.optim import Adam

    parameters, loss = STEPS[name]()
    optimizer = Adam(parameters, lr=1e-3)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def page_faults(name, **environment):
    """Page faults and seconds of one step after the first five, in a fresh process."""
    code = f"from {__name__} import _count; _count({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    faults, seconds = done.stdout.split()
    return int(faults), float(seconds)


def _count(name, steps=20):
    import resource

    step = stepper(name)
    for _ in range(5):
        step()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    for _ in range(steps):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(faults // steps, (time.perf_counter() - start) / steps)


if __name__ == "__main__":
    stepper(sys.argv[1])()
