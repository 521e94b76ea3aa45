"""How a translator is trained: on pairs of texts, to write the second after the first. See task.py."""

import json
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import data
from ..autograd import no_grad
from ..autograd.modes import observing
from ..configuration import check, option
from ..durable import write
from ..metrics.bleu import bleu, require
from ..models import AttentionMaps, BeamConfig, Translator, TranslatorConfig, beam_search, guesses
from .gpt_task import TOKENIZER, TOKENIZERS, TextConfig, saved_tokenizer, tokenizer_of
from .look import Look, Looking, Map, chosen, labels
from .options import from_settings
from .streams import stream
from .task import Player, means, perplexity

EXAMPLES = "examples.json"
START, END = "<s>", "</s>"
SHOWN = 10  # pairs that samples show
SCORED = 200  # test pairs that are translated at each evaluation of a training, which so costs seconds
TOGETHER = 50  # sentences in one search or evaluation
# Sizes, dropout, smoothing, batch and lr are those of Transformer-Tiny for Multi30k (Wu et al., Good for
# misconceived reasons, 2021), which had up to 8,000 steps and then the mean of 10 checkpoints.
TINY = {
    "layers": 4,
    "heads": 4,
    "width": 128,
    "feed_forward": 256,
    "context": 128,
    "dropout": 0.3,
    "activation": "relu",
    "positions": "sinusoidal",
    "initial": "xavier",
    "label_smoothing": 0.1,
    "batch": 4096,
    "steps": 5000,
    "optimizer": "adam",
    "lr": 5e-3,
    "beta2": 0.98,
    "schedule": "inverse-sqrt",
    "warmup": 1000,
    "ema": 0.998,
}
SMALL = {  # for strings, whose right answer is known exactly
    **TINY,
    "layers": 2,
    "context": 64,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "steps": 1000,
    "lr": 2e-3,
    "warmup": 200,
    "tokenizer": "characters",
}


@dataclass(frozen=True, kw_only=True)
class TranslationConfig(TextConfig):
    """How pairs of texts become tokens, the same for both sides."""

    tokenizer: str = option("bpe", "what a token is", choices=TOKENIZERS)
    merges: int | None = option(None, "that bpe learns, from both sides together (5000)", at_least=1)
    lower: bool = option(False, "make all letters small")
    reverse: bool = option(False, "translate from the second text of a pair into the first")

    def sides(self, pairs):
        """Pairs of texts as (source, target), as the model reads them."""
        pairs = [tuple(text.lower() for text in pair) if self.lower else pair for pair in pairs]
        return [pair[::-1] for pair in pairs] if self.reverse else pairs

    def trained(self, splits):
        """The tokenizer of (source, target) in each split, with tokens that begin and end a target.

        It learns of the training split alone; only characters, which know no others, are those of all.
        """
        known = splits.values() if self.tokenizer == "characters" else [splits["train"]]
        text = "\n".join(text for pairs in known for pair in pairs for text in pair)
        if self.tokenizer == "bytes":
            return data.ByteTokenizer(specials=(START, END))
        if self.tokenizer == "characters":
            return data.CharacterTokenizer.train(text, specials=(START, END))
        return data.BPETokenizer.train(text, number=self.merges or 5000, specials=(START, END))


PARTS = ("cross", "encoder", "decoder")


@dataclass(frozen=True, kw_only=True)
class TranslatorLooking(Looking):
    """What is looked at: a translator's own translation of the text."""

    part: str = option(
        "cross", "whose attention: of the translation to the source, or of either to itself", choices=PARTS
    )

    def __post_init__(self):
        check(self)


class TranslatorTask:
    """A translator on pairs of texts, any of data.PAIRS or a file of lines with a tab."""

    model_config, derived = TranslatorConfig, ("vocabulary",)
    data_config, sampling, looking = TranslationConfig, BeamConfig, TranslatorLooking
    files = TOKENIZER, EXAMPLES
    sources = data.PAIRS
    settings: ClassVar = {
        "number-words": SMALL,
        "multi30k": {**TINY, "lower": True},
        "addition": SMALL,
        "copying": SMALL,
        "sorting": SMALL,
        "python-entries": {**TINY, "context": 512},
    }
    by_path: ClassVar = TINY
    monitor, unit = "loss", "nats a token"
    units: ClassVar = {"perplexity": "equally likely tokens", "bleu": "BLEU", "exact": "share of all"}

    def __init__(self, model, tokenizer, config, examples):
        self.model, self.tokenizer, self.config, self.examples = model, tokenizer, config, examples
        self.start, self.end = tokenizer.specials[START], tokenizer.specials[END]
        self.players = (
            Player("model", model, self.loss, weight=lambda batch: int((batch[1][:, 1:] >= 0).sum())),
        )
        self.remarks = []

    @staticmethod
    def load(source, settings, files=None):
        require()  # if its library is missing, that is told before anything is trained
        config = from_settings(TranslationConfig, settings)
        splits = dict(zip(("train", "test"), data.load_pairs(source)))
        splits = {name: config.sides(pairs) for name, pairs in splits.items()}
        tokenizer = tokenizer_of(files) if files else config.trained(splits)
        start, end = tokenizer.specials[START], tokenizer.specials[END]
        arrays = {}
        for name, pairs in splits.items():
            sources, targets = ([tokenizer.encode(text) for text in side] for side in zip(*pairs))
            arrays[f"{name}_source"] = data.padded(sources)
            arrays[f"{name}_target"] = data.padded([[start, *target, end] for target in targets])
        data_info = {
            **{name: getattr(config, name) for name in ("tokenizer", "merges", "lower", "reverse")},
            "vocabulary": tokenizer.vocab_size,
            **{name: len(pairs) for name, pairs in splits.items()},
        }
        examples = json.dumps(splits["test"][:SHOWN], ensure_ascii=False, indent=1).encode()
        return arrays, data_info, {**saved_tokenizer(tokenizer), EXAMPLES: examples}

    @classmethod
    def config_for(cls, settings, data_info):
        return from_settings(cls.model_config, {**settings, "vocabulary": data_info["vocabulary"]})

    @classmethod
    def make(cls, config, data_info, files, *, rng):
        tokenizer = tokenizer_of(files)
        examples = [tuple(pair) for pair in json.loads(files[EXAMPLES])]
        return cls(
            Translator(config, rng=rng), tokenizer, from_settings(TranslationConfig, data_info), examples
        )

    @staticmethod
    def check(data_info, other):
        """Any pairs will do: they are read with the tokenizer that the model was trained with."""

    def set_data(self, arrays, config):
        self.train, self.test = (
            self._fitting(name, arrays[f"{name}_source"], arrays[f"{name}_target"])
            for name in ("train", "test")
        )
        self.missing = len(arrays["test_source"]) - len(self.test[0])
        source, target = self.train
        lengths = np.stack([(side >= 0).sum(axis=1) for side in (source, target)], axis=1)
        self.batches = data.BatchesByLength(
            lengths, tokens=config.batch, rng=lambda epoch: stream(config.seed, "order", epoch)
        )
        self.steps_per_epoch = len(self.batches)

    def _fitting(self, name, source, target):
        """The pairs that the model can read at once; the others are left out, and that is told.

        Raises:
            ValueError: none is left.
        """
        context = self.model.config.context
        fits = ((source >= 0).sum(axis=1) <= context) & ((target >= 0).sum(axis=1) <= context + 1)
        if not fits.any():
            raise ValueError(
                f"pairs ({name}): expected some of at most {context} tokens, the context, got none; choose a "
                "larger context"
            )
        if not fits.all():
            warnings.warn(
                f"{(~fits).sum():,} of {len(fits):,} pairs ({name}) are longer than the context, {context} "
                "tokens, and left out; choose a larger context to have them",
                stacklevel=2,
            )
        return source[fits], target[fits]

    def batch(self, step):
        rows = self.batches.at(step)
        return tuple(data.cropped(side[rows]) for side in self.train)

    def loss(self, batch, rng):
        return self.model.loss(*batch), {}

    def evaluate(self, rng):
        """While training: BLEU and the share of exact translations are of the first 200 test pairs, to which
        the likeliest token is taken each time; the loss is of all.
        """
        return self._measured(rng, BeamConfig(beams=1, length_penalty=0.0), SCORED)

    def measure(self, rng):
        """On the whole test set, by beam search."""
        return self._measured(rng, BeamConfig(), None)

    def _measured(self, rng, search, count):
        source, target = self.test
        order = np.argsort((target >= 0).sum(axis=1), kind="stable")
        batches = (
            tuple(data.cropped(side[rows]) for side in (source, target))
            for (rows,) in data.in_order(order, size=TOGETHER)
        )
        loss = means(self.players[0], batches, rng)["loss"]
        references = [self._text(row) for row in target[:count]]
        translations = self._translations(source[:count], search)
        found, self.remarks = {"loss": loss, "perplexity": perplexity(loss)}, []
        if self.config.reverse:
            self.remarks.append("from the second text of each pair into the first")
        if self.missing:
            self.remarks.append(f"without {self.missing:,} pairs that are longer than the context")
        if any(len(text.split()) >= 4 for text in references):  # BLEU counts runs of up to four words
            found["bleu"], signature = bleu(translations, references, lower=self.config.lower)
            self.remarks.append(f"BLEU: {signature}, beam {search.beams}")
        found["exact"] = float(np.mean([t == r for t, r in zip(translations, references)]))
        return found

    def translated(self, texts, search):
        """The translations of texts, a list of str.

        Raises:
            ValueError: a text that is empty, longer than the model's context, or with a character that the
                tokenizer does not know.
        """
        return self._translations(data.padded([self._tokens(text) for text in texts]), search)

    def _tokens(self, text):
        tokens = self.tokenizer.encode(text.lower() if self.config.lower else text)
        if not 1 <= len(tokens) <= self.model.config.context:
            fix = "give one sentence at a time" if len(tokens) else "write something"
            raise ValueError(
                f"text: expected 1 to {self.model.config.context} tokens, got {len(tokens)} in "
                f"{text[:40]!r}; {fix}"
            )
        return tokens

    def _search(self, source, search):
        """The best translation of each row of `source`, (B, S): tuples of tokens."""
        # Hardly any is longer than twice its source; a model that finds no end is stopped there.
        limits = np.minimum(10 + 2 * (source >= 0).sum(axis=1), self.model.config.context)
        found = beam_search(self.model, source, start=self.start, end=self.end, search=search, limit=limits)
        return [best[0].tokens for best in found]

    def _translations(self, source, search):
        """The best translation of each row of `source`, those of about one length together."""
        lengths, texts = (source >= 0).sum(axis=1), {}
        for (rows,) in data.in_order(np.argsort(lengths, kind="stable"), size=TOGETHER):
            found = self._search(data.cropped(source[rows]), search)
            texts |= {row: self.tokenizer.decode(tokens) for row, tokens in zip(rows.tolist(), found)}
        return [texts[row] for row in range(len(source))]

    def _text(self, target):
        """The text of a row (T,) of targets, which has a start, an end and filling."""
        return self.tokenizer.decode(target[1 : (target >= 0).sum() - 1])

    def samples(self, path, rng):
        return self.sample(path, BeamConfig(), rng=rng)

    def sample(self, path, options, *, rng):
        """Write translations of the first ten test pairs, each below its source and its reference."""
        lines = []
        for source, reference in self.examples:
            try:
                (text,) = self.translated([source], options)
            except ValueError as error:  # a text that is too long is no reason to stop a training
                text = f"({error})"
            lines.append(f"source:      {source}\nreference:   {reference}\ntranslation: {text}\n")
        path = path.with_name(f"{path.name}.txt")
        write(path, "\n".join(lines).encode())
        return path

    def final_samples(self, run, rng):
        return self.samples(run.path("samples"), rng)

    def look(self, options, *, rng):
        """Where tokens of a translation look, or of its source, and how sure the model is of each: a Look.

        Raises:
            ValueError: as of `translated`; or a layer that is not there.
        """
        source = self._tokens(self.examples[0][0] if options.text is None else options.text)[None]
        target = np.array([[self.start, *self._search(source, BeamConfig())[0], self.end]])
        with no_grad(), observing(seen := AttentionMaps()):
            logits = self.model(source, target[:, :-1]).numpy()[0]
        told, read = guesses(logits, target[0, 1:]), labels(self.tokenizer, source[0])
        text, count = labels(self.tokenizer, target[0]), self.model.config.layers
        rows, columns, weights = {  # calls: the encoder's, then of each block of the decoder its two
            "encoder": (read, read, seen.weights[:count]),
            "decoder": (text[:-1], text[:-1], seen.weights[count::2]),
            "cross": (text[:-1], read, seen.weights[count + 1 :: 2]),
        }[options.part]
        maps = [Map(f"layer {i + 1}", rows, columns, weights[i][0]) for i in chosen(options.layers, count)]
        best = labels(self.tokenizer, told.best)
        return Look(maps, text, told, best, vocabulary=self.model.config.vocabulary)
