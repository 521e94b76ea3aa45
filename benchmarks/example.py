"""PyTorch's basic VAE example from beginning to end, ours and theirs: the loss that it reaches, and how long.

784-400-20 units, ReLU, Adam with a rate of 1e-3, minibatches of 128, ten epochs of MNIST, and the test loss
after each: cross-entropy of grey pixels plus KL, in nats an image. Timed are whole processes, from the start
of Python to the end of the last evaluation.

    tinygen             `tinygen train vae --data mnist`, with checkpoints, pictures and the report
    PyTorch             with its images in memory as one tensor, which is as fast as its loop becomes
    PyTorch, DataLoader as the example loads them: each image by itself, from bytes to a tensor (what
                        torchvision's MNIST and ToTensor do), gathered by a DataLoader without workers

The losses of all must meet within a nat; otherwise somebody trained something else.
"""

import statistics
import subprocess
import sys
import tempfile
import time

from . import cases, measure

EPOCHS, BATCH, LR = 10, 128, 1e-3
SIZES = 400, 20
ALIKE = 1.0  # nats


def records(effort, quick):
    """name -> what goes into the JSON. Quickly: an epoch of the small digits."""
    given, losses = ["digits", "1"] if quick else ["mnist", str(EPOCHS)], {}

    def run(who):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", __name__, who, *given], check=True, stdout=subprocess.PIPE, text=True
        )
        taken = time.perf_counter() - start
        losses.setdefault(who, []).append(float(done.stdout.split()[-1]))
        return taken

    sides = {"tinygen": lambda: run("tinygen")}
    if "PyTorch" in cases.installed():
        sides |= {who: (lambda who=who: run(who)) for who in ("PyTorch", "PyTorch, DataLoader")}
    seconds = measure.interleave(sides, rounds=1 if quick else min(effort.rounds, 3))
    middle = {who: statistics.median(each) for who, each in losses.items()}
    print("\ntest losses, nats an image: " + ", ".join(f"{who} {loss:.2f}" for who, loss in middle.items()))
    if not quick and max(middle.values()) - min(middle.values()) > ALIKE:
        raise cases.Unequal(f"losses that are {ALIKE} nats or more apart: {middle}")
    return {f"VAE, {given[0]}, {given[1]} epochs": {"unit": "", "seconds": seconds}}


def ours(data, epochs):
    from tinygen.training import Session

    settings = {"data": data, "hidden": SIZES[0], "latent": SIZES[1], "batch": BATCH, "lr": LR}
    with tempfile.TemporaryDirectory() as folder:
        begun = Session.begin("vae", {**settings, "epochs": epochs}, out=folder)
        state = begun.train()[1]
        begun.finish(begun.lead(state))
        return begun.run.metrics()[-1]["test_loss"]


def theirs(data, epochs, *, loader):
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F

    from tinygen.data import load_images

    class VAE(nn.Module):
        def __init__(self, inputs, hidden, latent):
            super().__init__()
            self.fc1, self.fc21 = nn.Linear(inputs, hidden), nn.Linear(hidden, latent)
            self.fc22, self.fc3 = nn.Linear(hidden, latent), nn.Linear(latent, hidden)
            self.fc4 = nn.Linear(hidden, inputs)

        def forward(self, x):
            h = F.relu(self.fc1(x))
            mu, log_var = self.fc21(h), self.fc22(h)
            z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, log_var

    class OneByOne(torch.utils.data.Dataset):
        """Bytes, each image made a tensor when it is asked for."""

        def __init__(self, images):
            self.images = np.rint(images * 255).astype(np.uint8)

        def __len__(self):
            return len(self.images)

        def __getitem__(self, i):
            from PIL import Image

            picture = Image.fromarray(self.images[i])
            return torch.from_numpy(np.array(picture)).contiguous().to(torch.get_default_dtype()).div(255)

    def batches(images, shuffle):
        if loader:
            yield from torch.utils.data.DataLoader(OneByOne(images), batch_size=BATCH, shuffle=shuffle)
        else:
            images = torch.from_numpy(images)
            order = torch.randperm(len(images)) if shuffle else torch.arange(len(images))
            for rows in order.split(BATCH):
                yield images[rows]

    def loss_of(x):
        x = x.flatten(1)
        y, mu, log_var = model(x)
        bce = F.binary_cross_entropy(y, x, reduction="sum")
        return bce - 0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())

    (train, _), (test, _) = load_images(data)
    torch.manual_seed(0)
    model = VAE(train[0].size, *SIZES)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for _ in range(epochs):
        model.train()
        for x in batches(train, True):
            optimizer.zero_grad()
            loss = loss_of(x)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            total = sum(float(loss_of(x)) for x in batches(test, False))
    return total / len(test)


if __name__ == "__main__":
    sides = {
        "tinygen": ours,
        "PyTorch": lambda *given: theirs(*given, loader=False),
        "PyTorch, DataLoader": lambda *given: theirs(*given, loader=True),
    }
    print(sides[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
