"""BLEU as its paper defines it, beside the library that computes it here."""

import math
from collections import Counter

import pytest

from tinygen.metrics import bleu

pytest.importorskip("sacrebleu")


def by_hand(translations, references):
    """Equation of section 2.3 of Papineni et al., for words that white space divides."""
    matched, total, ours, theirs = [0] * 4, [0] * 4, 0, 0
    for translation, reference in zip(translations, references):
        a, b = translation.split(), reference.split()
        ours, theirs = ours + len(a), theirs + len(b)
        for n in range(1, 5):
            runs = [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (a, b)]
            matched[n - 1] += sum((runs[0] & runs[1]).values())
            total[n - 1] += sum(runs[0].values())
    precision = sum(math.log(m / t) for m, t in zip(matched, total)) / 4
    return 100 * math.exp(precision + min(0, 1 - theirs / ours))


TRANSLATIONS = ["a man rides a red bike down the street", "two dogs play in the snow"]
REFERENCES = ["a man rides a bike down the busy street today", "two dogs play in deep snow"]


def test_it_is_that_of_the_paper():
    score, signature = bleu(TRANSLATIONS, REFERENCES)
    assert score == pytest.approx(by_hand(TRANSLATIONS, REFERENCES)) and 10 < score < 90
    assert bleu(REFERENCES, REFERENCES)[0] == pytest.approx(100)
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_capitals_matter_unless_told_otherwise():
    loud = [text.upper() for text in REFERENCES]
    assert bleu(loud, REFERENCES)[0] < 1
    score, signature = bleu(loud, REFERENCES, lower=True)
    assert score == pytest.approx(100) and "case:lc" in signature


def test_lists_of_different_lengths_are_an_error():
    for translations, references in ((["a"], []), ([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="bleu: expected a reference for each translation, got"):
            bleu(translations, references)
