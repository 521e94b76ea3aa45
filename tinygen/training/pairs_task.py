"""How a GPT is trained on pairs: it reads a prompt, and learns to write the answer. See task.py.

A pair is one row, `prompt + between + answer + end`, and the loss is on `answer + end` alone. What stands
between and at the end are plain texts and no new tokens, so that a model which was trained on text before
reads them, whatever its tokenizer. An answer is over where `end` appears, so none may hold it. The two halves
become tokens apart, so that the border is the same as when the answer is not known yet.

A prompt that is too long for the context loses its beginning, in training as in sampling: the room that is
left for it is what the longest answer of the data leaves. An answer is never cut.
"""

import itertools
import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import data
from ..configuration import option
from ..durable import write
from ..models import GPT, greedy, until
from .gpt_task import GPTSampling, GPTTask, TextConfig, saved_tokenizer, tokenizer_for, tokenizer_of
from .options import from_settings
from .streams import stream
from .task import means

SMALL = {  # for pairs of a few characters
    "layers": 2,
    "heads": 4,
    "width": 128,
    "batch": 128,
    "steps": 5000,
    "optimizer": "adamw",
    "lr": 1e-3,
    "beta2": 0.99,
    "weight_decay": 0.1,
    "clip": 1.0,
    "schedule": "cosine",
    "warmup": 100,
    "evaluate_every": 500,
}
SUMMARY = {"between": "\n\nSummary:\n", "exact_on": 100}  # of python-entries, whose bodies are many lines


@dataclass(frozen=True, kw_only=True)
class PairsConfig(TextConfig):
    """How pairs become rows of tokens. None stands for what is in brackets.

    Raises:
        ValueError: as TextConfig; or nothing at the end.
    """

    pairs: bool = option(False, "a path holds lines of prompt, tab, answer; the loss is on the answers")
    between: str | None = option(None, "text between a prompt and its answer (a new line)")
    end: str | None = option(None, "text that ends an answer (a new line)")
    exact_on: int | None = option(
        None, "pairs of the test, the first, to which an evaluation writes answers (1000)", at_least=1
    )

    def __post_init__(self):
        super().__post_init__()
        if self.end == "":
            raise ValueError("end: expected some text, got none; without it no answer would ever end")


@dataclass(frozen=True, kw_only=True)
class AnswerSampling(GPTSampling):
    """What is answered, and how: by default with the likeliest tokens."""

    temperature: float = option(
        0.0, "below 1 bolder, above 1 more at random; 0 takes the likeliest token", at_least=0
    )


class PairsTask(GPTTask):
    """A GPT on pairs, any of data.PAIRS or a file of lines."""

    data_config, sampling = PairsConfig, AnswerSampling
    sources = data.PAIRS
    settings: ClassVar = {
        "addition": {**SMALL, "context": 12, "between": "="},
        "copying": {**SMALL, "context": 32},
        "sorting": {**SMALL, "context": 32},
        "number-words": {**SMALL, "context": 96},
        "multi30k": {**SMALL, "context": 160, "tokenizer": "bpe", "layers": 4},
        "python-entries": {**SMALL, "context": 256, "tokenizer": "bpe", "layers": 4, "batch": 16, **SUMMARY},
    }
    unit = "nats a token of the answers"
    units: ClassVar = {"exact": "share of the answers", "bits_per_byte": "bits"}
    at_once = 100  # rows of an evaluation that are computed together

    def __init__(self, model, tokenizer, *, between, end, longest, exact_on):
        super().__init__(model, tokenizer)
        self.between, self.end, self.exact_on = between, end, exact_on
        # The last token of an answer is never read, so a row has one token more than the model reads.
        self.room = model.config.context + 1 - longest
        least = len(tokenizer.encode(between)) + 1
        if self.room < least:
            raise ValueError(
                f"context: expected at least {least + longest - 1} tokens, {longest} of them for the longest "
                f"answer, got {model.config.context}; choose a larger one, or other data"
            )

    @staticmethod
    def load(source, settings, files=None):
        config = from_settings(PairsConfig, settings)
        between = "\n" if config.between is None else config.between
        end = "\n" if config.end is None else config.end
        splits = data.load_pairs(source)
        for _, answer in itertools.chain(*splits):
            if (answer + end).index(end) < len(answer):
                raise ValueError(
                    f"end: expected a text that no answer holds, got {end!r}, which is in {answer!r}; "
                    "choose another"
                )
        rows = [[(prompt + between, answer + end) for prompt, answer in pairs] for pairs in splits]
        tokenizer = tokenizer_for(config, ["".join(itertools.chain(*pairs)) for pairs in rows], files)
        arrays = {}
        for name, pairs in zip(("train", "test"), rows):
            encoded = [tokenizer.encode(part) for pair in pairs for part in pair]
            arrays[name] = np.concatenate(encoded).astype(np.int32)
            arrays[f"{name}_lengths"] = np.array([len(tokens) for tokens in encoded]).reshape(-1, 2)
        data_info = {
            "tokenizer": config.tokenizer,
            "merges": config.merges,
            "vocabulary": tokenizer.vocab_size,
            "pairs": True,
            "between": between,
            "end": end,
            "exact_on": config.exact_on or 1000,
            "longest": max(int(arrays[f"{name}_lengths"][:, 1].max()) for name in ("train", "test")),
            "train": len(rows[0]),
            "test": len(rows[1]),
        }
        return arrays, data_info, saved_tokenizer(tokenizer)

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        how = {name: data_info[name] for name in ("between", "end", "longest", "exact_on")}
        return cls(GPT(config, rng=rng), tokenizer_of(files), **how)

    @staticmethod
    def check(data_info, other):
        if other["longest"] > data_info["longest"]:
            raise ValueError(
                f"expected answers of at most {data_info['longest']} tokens, got {other['longest']}"
            )

    def set_data(self, arrays, config):
        long = int((arrays["train_lengths"][:, 0] > self.room).sum())
        if long:
            warnings.warn(
                f"pairs: {long:,} of {len(arrays['train_lengths']):,} prompts have more than the {self.room} "
                "tokens that the context leaves beside an answer, and lose their beginning",
                stacklevel=2,
            )
        self.prompts, self.answers = parts(arrays["test"], arrays["test_lengths"])
        self.test = data.pair_rows(self.prompts, self.answers, room=self.room)
        self.minibatches = data.Minibatches(
            *data.pair_rows(*parts(arrays["train"], arrays["train_lengths"]), room=self.room),
            size=config.batch,
            rng=lambda epoch: stream(config.seed, "order", epoch),
        )
        self.steps_per_epoch = len(self.minibatches)

    def batch(self, step):
        return data.trimmed_rows(*self.minibatches.at(step))

    def evaluate(self, rng):
        """Over all test pairs, nats a token of the answers and bits a byte of them; and `exact`."""
        batches = (data.trimmed_rows(*rows) for rows in data.in_order(*self.test, size=self.at_once))
        loss = means(self.players[0], batches, rng)["loss"]
        tokens = np.concatenate(self.answers)
        bits = loss * len(tokens) / math.log(2)
        size = len(self.tokenizer.decode_bytes(tokens))
        return {"loss": loss, "exact": self.exact(), "bits_per_byte": bits / size}

    def exact(self):
        """Of the first `exact_on` test pairs, the share to which the likeliest tokens are the right answer,
        from its first letter to its end.
        """
        right = [self.tokenizer.decode(answer) for answer in self.answers[: self.exact_on]]
        written = self.written_to(self.prompts[: self.exact_on])
        return sum(map(str.__eq__, written, right)) / len(right)

    def written_to(self, prompts):
        """The likeliest texts after prompts, rows of tokens, up to the end or until the context is full."""
        prompts, end = [prompt[-self.room :] for prompt in prompts], self.end.encode()
        texts = [b""] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # neighbours begin together
        for start in range(0, len(order), self.at_once):
            rows = order[start : start + self.at_once]
            for chosen in greedy(self.model, [prompts[i] for i in rows]):
                for i, token in zip(rows, chosen.tolist()):
                    if token >= 0:
                        texts[i] += self.tokenizer.tokens[token]
                if all(end in texts[i] for i in rows):
                    break
        return [text[: (text + end).index(end) + len(end)].decode("utf-8", "replace") for text in texts]

    def samples(self, path, rng):
        """The first ten test pairs: the prompt and what the model answers, and below it the right answer."""
        path = path.with_name(f"{path.name}.txt")
        shown = zip(self.prompts[:10], self.written_to(self.prompts[:10]), self.answers)
        blocks = []
        for prompt, written, answer in shown:
            right = self.tokenizer.decode(answer).removesuffix(self.end)
            written = written.removesuffix(self.end)
            blocks.append(f"{self.tokenizer.decode(prompt)}{written}\n  right: {right}\n")
        write(path, "\n".join(blocks).encode())
        return path

    def written(self, options, rng):
        """Yield what stands after a prompt, piece by piece, up to the end of the answer.

        Raises:
            ValueError: there is no prompt, or it has a character that the tokenizer does not know.
        """
        if not options.prompt:
            raise ValueError(
                "prompt: expected a text to answer, got none; do: tinygen sample RUN --prompt TEXT"
            )
        prompt = self.tokenizer.encode(options.prompt + self.between)[-self.room :]
        yield self.between
        yield from until(until(self.after(prompt, options, rng), self.end), options.stop)

    def look(self, options, *, rng):
        """As GPTTask.look, of a text that is given: without a prompt it has nothing to say.

        Raises:
            ValueError: there is no text; and as of GPTTask.look.
        """
        if options.text is None:
            raise ValueError(
                "text: expected one, got none, and this GPT only answers; give --text, such as a prompt, "
                f"{self.between!r} and an answer"
            )
        return super().look(options, rng=rng)


def parts(tokens, lengths):
    """Tokens (N,) in pieces of these lengths, (M, 2): two lists of M arrays, first and second ones."""
    pieces = np.split(tokens, np.cumsum(lengths.reshape(-1))[:-1])
    return pieces[::2], pieces[1::2]
