"""BLEU: how many runs of one to four words a translation shares with its reference, by sacreBLEU.

    Papineni, Roukos, Ward & Zhu, BLEU: a method for automatic evaluation of machine translation (2002)
    Post, A call for clarity in reporting BLEU scores (2018): sacreBLEU, and signatures

A score is comparable where its signature is: the library cuts text into words by itself, always the same way.
"""

from ..extras import optional


def require():
    """Find out now, and not after a training, whether sacrebleu is there.

    Raises:
        MissingLibrary: it is not installed.
    """
    optional("sacrebleu.metrics")


def bleu(translations, references, *, lower=False):
    """BLEU of a whole set of translations.

    Args:
        translations, references: lists of str, one reference for each.
        lower: whether capitals do not matter.

    Returns:
        score: from 0 to 100.
        signature: how it was computed, a str such as "nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:2.5".

    Raises:
        ValueError: lists of different lengths, or empty ones.
        MissingLibrary: sacrebleu is not installed.
    """
    if len(translations) != len(references) or not len(references):
        raise ValueError(
            f"bleu: expected a reference for each translation, got {len(translations)} and "
            f"{len(references)}; give lists of one length, at least 1"
        )
    metric = optional("sacrebleu.metrics").BLEU(lowercase=lower)
    score = metric.corpus_score(list(translations), [list(references)]).score
    return score, str(metric.get_signature())
