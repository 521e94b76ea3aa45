"""The models of steps.py as PyTorch's users write them, with the names that our parameters have."""

import torch
from torch import nn
from torch.nn import functional as F

from tinygen.models import GPTConfig

from .steps import BETAS, EPS, GAN_ADAM, LR


class Block(nn.Module):
    """x (B, T, C) + attention(norm(x)), and to that feed_forward(norm(...))."""

    def __init__(self, config):
        super().__init__()
        width, self.heads = config.width, config.heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(width, 3 * width, bias=False), "c_proj": nn.Linear(width, width, bias=False)}
        )
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(width, 4 * width, bias=False),
                "c_proj": nn.Linear(4 * width, width, bias=False),
            }
        )

    def forward(self, x):
        batch, time, width = x.shape
        parts = self.attn["c_attn"](self.ln_1(x)).split(width, dim=2)
        q, k, v = (x.view(batch, time, self.heads, -1).transpose(1, 2) for x in parts)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](seen.transpose(1, 2).reshape(batch, time, width))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocabulary, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.h = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.ln_f = nn.LayerNorm(config.width, bias=False)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


class VAE(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder = nn.Linear(config.height * config.width, config.hidden)
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)
        self.decoder = nn.Linear(config.latent, config.hidden)
        self.pixels = nn.Linear(config.hidden, config.height * config.width)

    def forward(self, x, eps):
        x, eps = x.flatten(1), eps[0]
        h = F.relu(self.encoder(x))
        mu, log_var = self.mean(h), self.log_variance(h)
        logits = self.pixels(F.relu(self.decoder(mu + torch.exp(0.5 * log_var) * eps)))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_var - mu.square() - log_var.exp())
        return (reconstruction + kl) / len(x)


def _normed(layer, channels, activation):
    return [layer, nn.BatchNorm2d(channels), activation]


class DCGAN(nn.Module):
    """Images of 28 x 28. The layers stand in the order of ours, so that weights may be given one by one."""

    def __init__(self, config):
        super().__init__()
        c, shape = config.channels, {"kernel_size": 5, "stride": 2, "padding": 2}
        self.generator = nn.Sequential(
            nn.Linear(config.latent, 4 * c * 16, bias=False),
            *_normed(nn.Unflatten(1, (4 * c, 4, 4)), 4 * c, nn.ReLU()),
            *_normed(nn.ConvTranspose2d(4 * c, 2 * c, bias=False, **shape), 2 * c, nn.ReLU()),
            *_normed(nn.ConvTranspose2d(2 * c, c, bias=False, output_padding=1, **shape), c, nn.ReLU()),
            nn.ConvTranspose2d(c, 1, output_padding=1, **shape),
            nn.Tanh(),
        )
        self.discriminator = nn.Sequential(
            nn.Conv2d(1, c, **shape),
            nn.LeakyReLU(0.2),
            *_normed(nn.Conv2d(c, 2 * c, bias=False, **shape), 2 * c, nn.LeakyReLU(0.2)),
            *_normed(nn.Conv2d(2 * c, 4 * c, bias=False, **shape), 4 * c, nn.LeakyReLU(0.2)),
            nn.Flatten(),
            nn.Linear(4 * c * 16, 1),
        )


class GANTrainer:
    """A GAN of which each player takes a step; `compiled`: both networks by torch.compile."""

    def __init__(self, case, *, compiled=False):
        gan = DCGAN(case.config)
        self.parameters = [*gan.generator.parameters(), *gan.discriminator.parameters()]
        with torch.no_grad():
            for parameter, x in zip(self.parameters, case.weights().values(), strict=True):
                parameter.copy_(torch.from_numpy(x))
        x, *self.noise = [torch.from_numpy(x) for x in case.inputs]
        self.x, self.gan = 2 * x[:, None] - 1, gan
        self.generator, self.discriminator = gan.generator, gan.discriminator
        if compiled:
            self.generator, self.discriminator = map(torch.compile, (gan.generator, gan.discriminator))
        self.optimizers = [
            torch.optim.Adam(player.parameters(), fused=True, **GAN_ADAM)
            for player in (gan.discriminator, gan.generator)
        ]

    def backward(self, turn):
        self.optimizers[turn].zero_grad(set_to_none=True)
        judged, ones = self.discriminator, torch.ones(len(self.x))
        cross_entropy = F.binary_cross_entropy_with_logits
        self.gan.discriminator.requires_grad_(not turn)  # in the generator's turn nobody needs its gradients
        if turn:
            loss = cross_entropy(judged(self.generator(self.noise[1]))[:, 0], ones)
        else:
            with torch.no_grad():
                made = self.generator(self.noise[0])
            loss = cross_entropy(judged(self.x)[:, 0], ones)
            loss = loss + cross_entropy(judged(made)[:, 0], torch.zeros_like(ones))
        loss.backward()
        return loss.detach()

    def gradients(self):
        losses = torch.stack([self.backward(turn) for turn in (0, 1)])
        return [losses, *[p.grad for p in self.parameters]]

    def __call__(self):
        losses = []
        for turn, optimizer in enumerate(self.optimizers):
            losses.append(self.backward(turn))
            optimizer.step()
        return torch.stack(losses)


class Trainer:
    """A model that takes steps; `compiled`: by torch.compile, forward and backward."""

    def __init__(self, case, *, compiled=False):
        model = (GPT if isinstance(case.config, GPTConfig) else VAE)(case.config)
        model.load_state_dict({name: torch.from_numpy(x) for name, x in case.weights().items()})
        named = dict(model.named_parameters())
        self.parameters, self.clip = [named[name] for name in case.weights()], case.clip
        self.batch = [torch.from_numpy(x) for x in case.inputs]
        self.model = torch.compile(model) if compiled else model
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": case.decay},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, fused=True)

    def backward(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.model(*self.batch)
        loss.backward()
        return loss.detach()

    def gradients(self):
        return [self.backward(), *[p.grad for p in self.parameters]]

    def __call__(self):
        loss = self.backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        return loss
