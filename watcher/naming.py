"""What does one tag mean by its name? Frameworks' names, as one readable table.

A tag is cut into words ("Losses/Value Loss", "valLoss" and "val-loss" alike). Words that name a
side (train, val) and words that only say how often it was taken (epoch, average) are set apart;
what is left is the ``stem`` that both sides share. The first row of ``TABLE`` that matches says
what it is. Nothing here looks at values: a name can mislead, which is what pins are for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from watcher.model import Better, Meaning, Role

LOWER, HIGHER = Better.LOWER, Better.HIGHER
LOSSES = frozenset({Role.TRAIN_LOSS, Role.VAL_LOSS})


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# ------------------------------------------------------------------------------- the words

_TRAIN = frozenset({"train", "training", "trn", "tr", "learn"})
# in the order in which they are trusted: a test set is often looked at once, at the very end
_VAL = (
    *("val", "valid", "validation", "validate", "vali", "va", "dev", "holdout", "heldout"),
    *("eval", "evaluation", "evaluate", "test", "testing", "tst"),
)
_COARSE = _set("epoch average avg mean running moving smooth smoothed ema")
_FINE = _set("batch step iter iters iteration iterations inner minibatch")
_PLAIN = _COARSE | _FINE | _set("total overall sum all lm current cur latest last")
# path segments that only group ("metrics/", "Losses/") and say nothing of the series
_GROUPS = _set("metric metrics scalar scalars stats summary charts samples trainer x")
_CLASSIC = _set(
    "acc accuracy f1 auc auroc map ap top iou miou dice bleu psnr ppl perplexity wer cer score"
    " mse rmse mae mean categorical binary sparse bbox 1"
)
_MAP_HALF = re.compile(r"map_(0_5|50)(_b)?")  # YOLO's first metric
_SIDE_SHOW = frozenset({"extrinsic", "intrinsic", "curiosity", "rnd", "gail"})  # of a reward

_WORD = re.compile(
    r"[A-Za-z]*GANs?(?![a-z])|m?AP[sml]?(?![A-Za-z])|m?IoU|(?<![A-Za-z])[A-Za-z]\d+"
    r"|(?<![A-Z])[A-Z]\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"
)
_JOINED = re.compile(r"(train|training|val|valid|validation|test|eval)(loss|acc|accuracy|error)")
_NUMBERING = re.compile(r"^\s*\d+\s*[.)]\s+")  # "1. Recovery loss"
_VERSUS = re.compile(r"[ _-]vs[ _-].*$")  # "evaluation_loss_vs_iterations"

# ------------------------------------------------------------------------------- the table

_GRAD = (
    r"grads?|gradients?|gnorm|norm|total|global|overall|l2|2|0|(?:un)?clipped|raw|pre|post|clip"
)
_UNIT = (
    r"(?:samples?|steps?|its?|iters?|iterations?|tokens?|tok|examples?|images?|imgs?|batch(?:es)?"
    r"|frames?|sequences?|seqs?|words?|epochs?)"
)
ADVERSARIAL = r"gan|generator|discriminator|disc|gen|adv|adversarial"
_AGENT = r"policy|actor|pg|value|critic|vf|qf?\d?|td|alpha|(?<!cross )entropy|ent coef|surrogate"
_LOSS = r"\w*loss(?:es)?"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: names that match ``pattern`` have role ``train``, or ``val`` if on that side."""

    pattern: re.Pattern[str]
    train: Role | None
    val: Role | None
    better: Better


def _row(
    pattern: str, train: Role | None = None, val: Role | None = None, better: Better = LOWER
) -> Row:
    return Row(re.compile(pattern), train, val, better)


# Names are lower-case words with single blanks and without side words. The first match counts;
# no role means that the name is known and not to be judged.
TABLE: tuple[Row, ...] = (
    _row(r"\b(hp metric|hparams?|explained variance|trainable)\b|\bparam(eter)?s?$"),
    _row(
        rf"^(?=.*\b(grads?|gradients?|gnorm)\b)(?=.*norm)((?:{_GRAD}|optim|optimizer|all)\b ?)+$",
        Role.GRAD_NORM,
    ),
    _row(
        r"^((kld?|vae|elbo) )?(loss )?beta$"
        r"|\bkld? (loss )?(weights?|coeff?\w*|scale|anneal\w*|factor)$",
        *(Role.LOSS_WEIGHT, None, HIGHER),
    ),
    _row(
        r"\b(grads?|gradients?|weights?|bias(es)?|activations?|param(eter)?s?|histograms?)\b"
        r"(?!.*loss)"
    ),
    _row(r"loss(es)? (scal\w+|weights?|coef\w*|factor|lambda|ratio|count|std|var\w*|min|max|gap)"),
    _row(r"loss(es)? (diff\w*|delta|mask|time|threshold)\b|\b(min|max) \w*loss"),
    _row(r"\b(best|lowest|minimum|std|num|scaler?|n) (\w+ )?\w*loss"),
    _row(r"\blr (scale|mult\w*|factor)\b"),
    _row(r"\b(lrs?|learning ?rates?)\b(?!.*loss)", Role.LEARNING_RATE, Role.LEARNING_RATE, HIGHER),
    _row(
        r"^(trainer |progress |current |cur |time )*epochs?( num| number| idx| index)?$",
        *(Role.EPOCH, Role.EPOCH, HIGHER),
    ),
    _row(
        rf"\b(fps|sps|wps|ups|mfu|throughput)\b|\b{_UNIT} (per )?(s|sec|secs|second|seconds)\b",
        *(Role.THROUGHPUT, None, HIGHER),  # an evaluation's speed is nobody's alarm
    ),
    _row(r"\bapprox ?kl\b|\bclip ?(fraction|frac|range)|\bep(isode)? len|\bvalue estimate\b"),
    _row(
        r"\bkld?( div\w*)?\b(?!.*loss)(?<!loss kl)(?<!loss kld)|(?<!cross )\bentropy\b(?!.*loss)"
    ),
    _row(r"\brew(ard)?s?\b.*\b(std|min|max|chosen|rejected|margins?|clip)"),
    _row(r"\b(std|min|max)\b.*\b(rew(ard)?s?|returns?)\b|\breturns?\b.*\b(std|min|max)\b"),
    _row(
        r"\b(rew(ard)?s?|returns?|episodic return)\b(?!.*(loss|acc))"
        r"|\brollouts? (ep )?(success|win)\b",
        *(Role.REWARD, Role.REWARD, HIGHER),
    ),
    _row(
        rf"\b({ADVERSARIAL}|net ?[gd]|[gd]( [ab])?)\b.*{_LOSS}\b|\b[gd]loss\b"
        rf"|{_LOSS}\b.*\b({ADVERSARIAL}|net ?[gd]|[gd])\b|\berr [gd]\b|\b[gd] (gan|real|fake)\b",
        *(Role.GAN_LOSS, Role.GAN_LOSS),
    ),
    _row(
        rf"\b({_AGENT})( gradient| function)? {_LOSS}\b"
        rf"|\bloss(es)? (policy|actor|pg|critic|vf|qf?\d?|td|surrogate)\b|\bloss value avg\b",
        *(Role.RL_LOSS, Role.RL_LOSS),
    ),
    _row(
        r"\b(acc|accuracy|accuracies|acc\d|auc|auroc|aucroc|f[12])\b(?!.*loss)",
        *(Role.TRAIN_METRIC, Role.VAL_METRIC, HIGHER),
    ),
    _row(r"\b(ppl|perplexity)\b(?!.*loss$)", Role.TRAIN_METRIC, Role.VAL_METRIC),
    _row(
        rf"\b{_LOSS}\b|\b(nll|xent|b?ce|cost|criterion)\b|cross ?entropy",
        *(Role.TRAIN_LOSS, Role.VAL_LOSS),
    ),
    _row(
        r"\b([nr]?mse|r?msle|mape|s?mae|errors?|err|wer|cer|ter|eer|fid|kid|lpips|bpc|bpb|epe)\b"
        r"|\bbits per (char|byte|dim)|\b(ece|brier|fpr|fnr|false (negative|positive)|deviance)\b"
        r"|\b(mpjpe|chamfer|hausdorff|hd95|ade|fde|regret|multi ?class)\b",
        *(Role.TRAIN_METRIC, Role.VAL_METRIC),
    ),
    _row(
        r"\b(map|m?ap[sml]?|ar|prec(ision)?|recall|sensitivity|specificity|m?iou|jaccard|dice|dsc)\b"
        r"|\b(bleu|rouge|meteor|cider|spice|chrf|psnr|ssim|ndcg|mrr|hits?|r2|mcc|kappa|corr\w*)\b"
        r"|\b(pearson\w*|spearman\w*|exact match|top \d|scores?|win ?rate|success|similarity)\b",
        *(Role.TRAIN_METRIC, Role.VAL_METRIC, HIGHER),
    ),
)

# without a side word these are still taken on held-out data
_EVALUATED = re.compile(
    r"^(metrics|bbox|segm|keypoints|coco)\b"
    r"|\b(map|m?ap[sml]?|bleu|rouge|meteor|cider|fid|ndcg|mrr|wer|cer)\b"
)


# ------------------------------------------------------------------------------- one tag


@dataclass(frozen=True, slots=True)
class Name:
    """A tag in words. ``trust`` ranks the side word, lower is better; ``once``: a summary."""

    text: str  # all words but those of the side
    side: str  # "train", "val" or ""
    trust: int
    stem: str
    coarse: bool
    once: bool


def _words(segment: str) -> list[str]:
    found: list[str] = []
    for word in _WORD.findall(_NUMBERING.sub("", segment)):
        low = word.lower()
        found += m.groups() if (m := _JOINED.fullmatch(low)) else (low,)
    return found


def _is_side(segment: Sequence[str], i: int) -> bool:
    word = segment[i]
    if word == "dev" and i and segment[i - 1] in ("std", "standard"):
        return False
    if word == "learn":
        return len(segment) == 1
    return word in _TRAIN or word in _VAL


@lru_cache(maxsize=16384)
def in_words(tag: str) -> Name:
    """Take a tag apart. Of several side words the last counts ("train/val_loss").

    "training" or "testing" after another word ("Autoencoder training/1. loss") names a phase: it
    is the side only if no other word is.
    """
    segments = [w for s in tag.split("/") if (w := _words(s))]
    strong: list[str] = []
    weak: list[str] = []
    kept: list[list[str]] = []
    for segment in segments:
        sides = [i for i in range(len(segment)) if _is_side(segment, i)]
        for i in sides:
            (weak if i and segment[i].endswith("ing") else strong).append(segment[i])
        kept.append([w for i, w in enumerate(segment) if i not in sides])
    last = (strong or weak or [""])[-1]
    side = "train" if last in _TRAIN else "val" if last else ""
    words = [w for segment in kept for w in segment]
    return Name(
        text=" ".join(words) or " ".join(w for s in segments for w in s),
        side=side,
        trust=_VAL.index(last) if side == "val" else 0,
        stem=_stem(tag, kept, words),
        coarse=any(w in _COARSE for w in words),
        once=segments == [["train"], ["train", "loss"]] or "runtime" in words,
    )


def _stem(tag: str, kept: Sequence[Sequence[str]], words: Sequence[str]) -> str:
    """Return what both sides' names share, a repeated word once, where it comes last."""
    versus = len(_words(m.group())) if (m := _VERSUS.search(tag)) else 0
    named = [w for s in kept if not (len(s) == 1 and s[0] in _GROUPS) for w in s]
    named = named[: len(named) - versus] if versus else named
    named = ["loss" if w == "losses" else w for w in named]
    bare = [w for w in named if w not in _PLAIN] or named or list(words) or [tag]
    return "_".join(w for i, w in enumerate(bare) if w.isdigit() or w not in bare[i + 1 :])


@lru_cache(maxsize=16384)
def meaning(tag: str) -> Meaning | None:
    """Say what ``tag`` means by its name alone; None if it means nothing to a rule.

    ``tag`` is the full tag within the run ("validation/epoch_loss"). A loss that names no side
    is the training loss.
    """
    name = in_words(tag)
    for row in TABLE:
        if row.pattern.search(name.text):
            break
    else:
        return None
    held_out = name.side == "val"
    if not name.side and row.train is Role.TRAIN_METRIC:
        held_out = _EVALUATED.search(name.text) is not None
    role = row.val if held_out else row.train
    return None if role is None else Meaning(role, row.better, name.stem, _is_main(role, name))


def _is_main(role: Role, name: Name) -> bool:
    words = name.stem.split("_")
    if role in LOSSES:
        return name.stem == "loss"
    if role in (Role.TRAIN_METRIC, Role.VAL_METRIC):
        return _CLASSIC.issuperset(words) or _MAP_HALF.fullmatch(name.stem) is not None
    return role is Role.REWARD and not _SIDE_SHOW.intersection(words)
