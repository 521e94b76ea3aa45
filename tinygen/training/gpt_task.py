"""How a GPT is trained: on any text, or on the bytes of any file, to guess what comes next. See task.py."""

import itertools
import json
import math
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import data
from ..autograd import no_grad
from ..autograd.modes import observing
from ..configuration import check, option
from ..data.tokenizers import Tokenizer
from ..durable import write
from ..models import GPT, AttentionMaps, GPTConfig, SamplingConfig, generate, guesses, until
from .look import Look, Looking, Map, chosen, labels
from .options import from_settings
from .streams import stream
from .task import Player, means, perplexity

TOKENIZERS = ("characters", "bytes", "bpe")
TOKENIZER = "tokenizer.json"
WRITTEN = 40  # tokens that it writes to be looked at, where no text is given
AT_ONCE = 2048  # tokens of an evaluation: with GPT-2's vocabulary, their logits are 400 MB
NANOGPT = {  # its setting for a CPU
    "layers": 4,
    "heads": 4,
    "width": 128,
    "context": 64,
    "bias": False,
    "batch": 12,
    "steps": 2000,
    "optimizer": "adamw",
    "lr": 1e-3,
    "beta2": 0.99,
    "weight_decay": 0.1,
    "clip": 1.0,
    "schedule": "cosine",
    "warmup": 100,
    "lr_end": 1e-4,
    "evaluate_every": 250,
}


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How text becomes tokens."""

    tokenizer: str = option("characters", "what a token is", choices=TOKENIZERS)
    merges: int | None = option(None, "that bpe learns (1000)", at_least=1)

    def __post_init__(self):
        check(self)
        if self.merges is not None and self.tokenizer != "bpe":
            raise ValueError(
                f"merges: is not used by the tokenizer {self.tokenizer}; leave it out, or choose bpe"
            )


@dataclass(frozen=True, kw_only=True)
class GPTSampling(SamplingConfig):
    """What is written, and how."""

    prompt: str | None = option(None, "how it begins (default: with a new line)")
    tokens: int = option(500, "how many are written after it", at_least=1)
    stop: str | None = option(None, "text that ends it earlier")


def tokenizer_of(files):
    """The tokenizer among the files of a run, name -> bytes."""
    return Tokenizer.from_dict(json.loads(files[TOKENIZER]))


def tokenizer_for(config, texts, files=None):
    """The tokenizer of a run, if there are files of one, or a new one for texts to train and to test on."""
    if files:
        return tokenizer_of(files)
    if config.tokenizer == "bytes":
        return data.ByteTokenizer()
    if config.tokenizer == "bpe":
        return data.BPETokenizer.train(texts[0], number=config.merges or 1000)
    return data.CharacterTokenizer.train("".join(texts))


def saved_tokenizer(tokenizer):
    """The files of a run that hold its tokenizer, name -> bytes."""
    return {TOKENIZER: json.dumps(tokenizer.to_dict(), ensure_ascii=False).encode()}


class GPTTask:
    """A GPT on text, any of data.TEXTS or a file; with the tokenizer `bytes`, on any file at all."""

    model_config, derived = GPTConfig, ("vocabulary",)
    data_config, sampling, looking, files = TextConfig, GPTSampling, Looking, (TOKENIZER,)
    sources = data.TEXTS
    settings: ClassVar = {
        "tinyshakespeare": NANOGPT,
        "python-docs": {**NANOGPT, "tokenizer": "bpe"},
        "python-source": {**NANOGPT, "tokenizer": "bpe"},
        "drawn-digits": {**NANOGPT, "context": 150, "dropout": 0.2},  # two of them
    }
    by_path: ClassVar = NANOGPT
    monitor, unit = "loss", "nats a token"
    remarks = ()
    units: ClassVar = {"perplexity": "equally likely tokens", "bits_per_byte": "bits"}

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.players = (Player("model", model, self.loss, weight=lambda batch: int((batch[1] >= 0).sum())),)

    @staticmethod
    def load(source, settings, files=None):
        config = from_settings(TextConfig, settings)
        if config.tokenizer == "bytes":
            tokenizer, parts = data.ByteTokenizer(), data.load_bytes(source)
        else:
            texts = data.load_text(source)
            tokenizer = tokenizer_for(config, texts, files)
            parts = [tokenizer.encode(text) for text in texts]
        arrays = dict(zip(("train", "test"), (np.asarray(part, np.int32) for part in parts)))
        data_info = {
            "tokenizer": config.tokenizer,
            "merges": config.merges,
            "vocabulary": tokenizer.vocab_size,
            "train": len(parts[0]),
            "test": len(parts[1]),
        }
        return arrays, data_info, saved_tokenizer(tokenizer)

    @classmethod
    def config_for(cls, settings, data_info):
        return from_settings(cls.model_config, {**settings, "vocabulary": data_info["vocabulary"]})

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        return cls(GPT(config, rng=rng), tokenizer_of(files))

    @staticmethod
    def check(data_info, other):
        """Any text will do: it is read with the tokenizer that the model was trained with."""

    def set_data(self, arrays, config):
        self.train, self.test = arrays["train"], arrays["test"]
        if len(self.test) < 2:  # which is found out now, and not at the first evaluation
            raise ValueError(
                f"text to test on: expected at least 2 tokens, of which the first is given, got "
                f"{len(self.test)}; give a longer text"
            )
        self.windows = data.Windows(
            self.train,
            length=self.model.config.context,
            size=config.batch,
            rng=lambda step: stream(config.seed, "order", step),
        )
        self.steps_per_epoch = self.windows.per_epoch
        self.batch = self.windows.at

    def loss(self, batch, rng):
        return self.model.loss(*batch), {}

    def evaluate(self, rng):
        """Over the whole test text, each token once: nats a token, perplexity, and bits a byte of UTF-8."""
        context = self.model.config.context
        batches = data.windows_in_order(self.test, length=context, size=max(1, AT_ONCE // context))
        loss = means(self.players[0], batches, rng)["loss"]
        size = len(self.tokenizer.decode_bytes(self.test[1:]))
        bits = loss * (len(self.test) - 1) / math.log(2)
        return {"loss": loss, "perplexity": perplexity(loss), "bits_per_byte": bits / size}

    def measure(self, rng):
        return self.evaluate(rng)

    def samples(self, path, rng):
        path = path.with_name(f"{path.name}.txt")
        write(path, "".join(self.written(GPTSampling(tokens=400, temperature=0.8), rng)).encode())
        return path

    def sample(self, path, options, *, rng):
        """Write a text, to the terminal while it comes into being, and into a file."""
        parts = []
        for part in itertools.chain([options.prompt or ""], self.written(options, rng)):
            parts.append(part)
            sys.stdout.write(part)
            sys.stdout.flush()
        sys.stdout.write("\n")
        path = path.with_name(f"{path.name}.txt")
        write(path, "".join(parts).encode())
        return path

    def written(self, options, rng):
        """Yield the text after a prompt, piece by piece.

        Raises:
            ValueError: the prompt is empty, or has a character that the tokenizer does not know.
        """
        if options.prompt is None:
            new_line = b"\n" in self.tokenizer.tokens
            prompt = np.array([self.tokenizer.tokens.index(b"\n") if new_line else 0])
        else:
            prompt = self.tokenizer.encode(options.prompt)
        if not len(prompt):
            raise ValueError("prompt: expected at least one character, got none; leave it out, or write one")
        yield from until(self.after(prompt, options, rng), options.stop)

    def after(self, prompt, options, rng):
        """Yield the text after `prompt`, tokens (T,), whole characters only."""
        tokens = generate(self.model, prompt[None], sampling=options, rngs=[rng])
        decoder = self.tokenizer.stream()
        for (token,) in itertools.islice(tokens, options.tokens):
            yield decoder.push(int(token))
        yield decoder.flush()

    def final_samples(self, run, rng):
        return self.samples(run.path("samples"), rng)

    def look(self, options, *, rng):
        """Where the tokens of a text look, and how much each surprises the model: a Look.

        Raises:
            ValueError: a text of less than two tokens, or of more than the model sees at once; a character
                that the tokenizer does not know; or a layer that is not there.
        """
        config, most = self.model.config, self.model.config.context
        if options.text is None:
            written = self.written(GPTSampling(tokens=min(WRITTEN, most)), rng)
            tokens = self.tokenizer.encode("".join(written))[:most]
        else:
            tokens = self.tokenizer.encode(options.text)
        if not 2 <= len(tokens) <= most:
            raise ValueError(
                f"text: expected 2 to {most} tokens, which the model sees at once, got {len(tokens)}; "
                f"give a {'longer' if len(tokens) < 2 else 'shorter'} one"
            )
        with no_grad(), observing(seen := AttentionMaps()):
            logits = self.model(tokens[None]).numpy()[0]
        told, names = guesses(logits[:-1], tokens[1:]), labels(self.tokenizer, tokens)
        maps = [
            Map(f"layer {i + 1}", names, names, seen.weights[i][0])
            for i in chosen(options.layers, config.layers)
        ]
        best = labels(self.tokenizer, told.best)
        return Look(maps, names, told, best, vocabulary=config.vocabulary)
