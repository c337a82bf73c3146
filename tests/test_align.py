"""The alignment of two lists of layers: small cases by hand, and all small cases against trying everything."""

import itertools
import random

import pytest

from yolo_attn.alignment.layer_alignment import Layer, align, by_number, class_branch, parse_pins
from yolo_attn.errors import ArgumentError

pytestmark = pytest.mark.fast


def conv(*reads, width=8, row="", kind="Conv"):
    return Layer(kind, frozenset({kind}), reads, row, {"weight": (width, width, 3, 3), "bias": (width,), "count": ()})


def free(kind, *reads, row=""):
    return Layer(kind, frozenset({kind}), reads, row)


def chain(*layers):
    """Each layer reads the one before it."""
    return [Layer(x.kind, x.family, (k - 1,), x.row, x.tensors) for k, x in enumerate(layers)]


A, B, C, D = (conv(width=w) for w in (2, 3, 4, 5))
ATTENTION = conv(width=4, kind="EMA")
HEADS = {  # class, its base classes and its tensors
    "Detect": (["Detect"], {"cv2.weight": (4,), "cv3.weight": (80,)}),
    "Segment": (["Segment", "Detect"], {"cv2.weight": (4,), "proto.weight": (9,)}),
    "Classify": (["Classify"], {"cv2.weight": (4,)}),
    "Pose": (["Pose", "Detect"], {"cv2.weight": (5,)}),
}


def headed(kind):
    family, tensors = HEADS[kind]
    return [conv(-1), Layer(kind, frozenset(family), (0,), "", tensors)]


START = [conv(-1, width=2), conv(0)]
ONE = [*START, conv(1, width=3), free("Concat", 2, 1)]
FIRST, SECOND = ([*START, conv(1), conv(2, width=3), free("Concat", 3, x)] for x in (1, 2))  # layer 1 twice
CASES = {
    "the same list": (chain(A, free("Up"), B, C), chain(A, free("Up"), B, C), {0: 0, 1: 1, 2: 2, 3: 3}),
    "inserted rows": (chain(A, B, C), chain(A, ATTENTION, B, free("Up"), C), {0: 0, 1: 2, 2: 4}),
    "removed row": (chain(A, ATTENTION, B, C), chain(A, B, C), {0: 0, 2: 1, 3: 2}),
    "replaced row": (chain(A, B, C, D), chain(A, ATTENTION, C, D), {0: 0, 2: 2, 3: 3}),
    "a common class and tensors": (headed("Detect"), headed("Segment"), {0: 0, 1: 1}),
    "tensors, but no common class": (headed("Detect"), headed("Classify"), {0: 0}),
    "a common class, but no tensors": (headed("Detect"), headed("Pose"), {0: 0}),
    "one kind, another size: no weights, one place": ([conv(-1)], [conv(-1, width=3)], {0: 0}),
    "the concatenation reads the old one of two equal layers": (ONE, FIRST, {0: 0, 1: 1, 2: 3, 3: 4}),
    "two equal layers side by side on different maps; a third was inserted on the map of the first": (
        [*START[:1], conv(0, width=3), conv(0), conv(1)],
        [*START[:1], conv(0, width=3), conv(1), conv(0), conv(1)],
        {0: 0, 1: 1, 2: 3, 3: 4},
    ),
    "arguments decide before references": (
        chain(A, conv(row="a"), B),
        chain(A, conv(row="b"), conv(row="a"), B),
        {0: 0, 1: 2, 2: 3},
    ),
    "consumers of layer 2 now read a new layer that reads 0, 1 and 2": (
        [conv(-1, width=2), conv(0, width=3), conv(1, width=4), conv(2), conv(0)],
        [conv(-1, width=2), conv(0, width=3), conv(1, width=4), free("PMFS", 0, 1, 2), conv(3), conv(0)],
        {0: 0, 1: 1, 2: 2, 3: 4, 4: 5},
    ),
}


@pytest.mark.parametrize(("source", "target", "pairs"), CASES.values(), ids=CASES)
def test_pairs(source, target, pairs):
    found = align(source, target)
    assert (found.pairs, found.ambiguity) == (pairs, None)


def test_rows_without_weights_may_be_tied():
    found = align(chain(A, free("Up"), B), chain(A, free("Up"), free("Up"), B))
    assert found.ambiguity is None
    assert {0: 0, 2: 3}.items() <= found.pairs.items()


@pytest.mark.parametrize(
    ("source", "target", "ambiguity"),
    [
        (
            ONE,
            SECOND,
            "source layer 1 (Conv) could be layer 1 or 2",
        ),  # both consumers read layer 2
        (SECOND, ONE, "layer 1 (Conv) could be source layer 1 or 2"),
        (chain(A, C, B), chain(A, C, C, C, B), "source layer 1 (Conv) could be layer 1 or 2 or 3"),
        (
            [*START[:1], conv(0, width=3), conv(0), conv(1)],
            [*START[:1], conv(0, width=3), conv(0), conv(0), conv(1)],
            "source layer 2 (Conv) could be layer 2 or 3",
        ),
    ],
)
def test_ambiguous(source, target, ambiguity):
    assert align(source, target).ambiguity == ambiguity


def test_pins():
    assert align(ONE, SECOND).pin == "1=1"
    assert align(ONE, SECOND, {1: 1}).pairs == {0: 0, 1: 1, 2: 3, 3: 4}
    found = align(ONE, SECOND, {1: 2})
    assert (found.pairs, found.ambiguity) == ({0: 0, 1: 2, 2: 3, 3: 4}, None)
    assert align(SECOND, ONE, {2: 1}).pairs == {0: 0, 2: 1, 3: 2, 4: 3}


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({9: 1}, "9=1: the source has no layer 9; it has 0 to 2"),
        ({1: 7}, "1=7: the target has no layer 7; it has 0 to 3"),
        ({0: 1}, r"0=1: source layer 0 \(Conv\) and layer 1 \(Up\) share no tensor"),
        ({0: 2, 2: 2}, "0=2,2=2: a layer is given twice"),
        ({0: 3, 2: 0}, "2=0 contradicts 0=3,2=0"),
    ],
)
def test_pins_that_cannot_be(pins, words):
    source = chain(conv(), conv(), conv())
    target = chain(conv(), free("Up"), conv(), conv())
    with pytest.raises(ValueError, match=words):
        align(source, target, pins)


def test_pins_as_text():
    assert parse_pins("6=7, 8=10") == {6: 7, 8: 10}
    for text in ("6", "6=", "a=7", "6=7,", "6=7;8=9", "-1=2"):
        with pytest.raises(ArgumentError, match=rf"map={text} .* 6=7,8=10"):
            parse_pins(text)
    with pytest.raises(ArgumentError, match=r"map=6=7,6=8 .* 6 "):
        parse_pins("6=7,6=8")


def test_by_number_and_the_class_branch():
    found = by_number(chain(conv(), conv(width=2)), chain(conv(), free("Up"), conv(width=2)))
    assert found.pairs == {0: 0, 1: 1}
    assert found.fitting == 3
    here = Layer("Detect", frozenset(), (0,), "", {"cv2.w": (3,), "cv3.0.w": (80, 80), "cv3.1.w": (80, 7), "dfl": (1,)})
    there = Layer("Detect", frozenset(), (0,), "", {"cv2.w": (3,), "cv3.0.w": (64, 64), "cv3.1.w": (3, 7), "dfl": (1,)})
    assert class_branch(here, there, 80, 3) == {"cv3"}
    assert class_branch(here, here, 80, 80) == frozenset()


# Against trying every alignment, with the objective as the module's head states it


def every_alignment(n, m):
    for size in range(min(n, m) + 1):
        for rows in itertools.combinations(range(n), size):
            for columns in itertools.combinations(range(m), size):
                yield dict(zip(rows, columns, strict=True))


def worth(source, target, pairs):
    weights = tensors = like = 0
    for i, j in pairs.items():
        a, b = source[i], target[j]
        common = [n for n in a.tensors if b.tensors.get(n) == a.tensors[n]]
        if a.kind != b.kind and not (common and a.family & b.family):
            return None
        weights += sum(bool(a.tensors[n]) for n in common)
        tensors += len(common)
        like += (4 if a.kind == b.kind else 2) + (a.row == b.row) + (a.tensors == b.tensors)
    return weights, tensors, like, agreement(source, target, pairs)


def agreement(source, target, pairs):
    back = {j: i for i, j in pairs.items()}

    def stands_for(layers, k, partner):
        if k < 0:
            return {-1}
        known = partner(k)
        return {known} if known is not None else set().union(*(stands_for(layers, r, partner) for r in layers[k].reads))

    total = 0
    for i, j in pairs.items():
        a = [stands_for(source, k, lambda k: k if k in pairs else None) for k in source[i].reads]
        b = [stands_for(target, k, back.get) for k in target[j].reads]
        if len(a) == len(b):
            total += sum(2 if x == y else 1 if x <= y or y <= x else 0 for x, y in zip(a, b, strict=True))
        else:
            total += 2 * sum(min(a.count(x), b.count(x)) for x in [x for k, x in enumerate(a) if x not in a[:k]])
    return total


def some_layers(rng, count):
    found = []
    for k in range(count):
        reads = rng.sample(range(-1, k), rng.choice([1, 1, 1, 2]) if k else 1)
        one = rng.choice([conv(*reads), conv(*reads, width=4, row=rng.choice("ab")), free("Concat", *reads)])
        if one.kind == "Conv" and rng.random() < 0.2:
            one = Layer("Sub", frozenset({"Sub", "Conv"}), one.reads, one.row, one.tensors)
        found.append(one)
    return found


def test_against_trying_everything():
    rng = random.Random(0)
    ambiguous = 0
    for _ in range(400):
        ambiguous += is_best(some_layers(rng, rng.randint(1, 5)), some_layers(rng, rng.randint(1, 5)))
    assert 30 < ambiguous < 370


def is_best(source, target):
    """Check what is found against every alignment; return whether it is ambiguous."""
    scored = [(worth(source, target, p), p) for p in every_alignment(len(source), len(target))]
    best = max(w for w, _ in scored if w is not None)
    carriers = {
        frozenset((i, j) for i, j in p.items() if source[i].weights_fitting(target[j])) for w, p in scored if w == best
    }
    found = align(source, target)
    assert worth(source, target, dict(found.pairs)) == best
    assert (found.ambiguity is not None) == (len(carriers) > 1)
    if found.pin is not None:
        i, j = map(int, found.pin.split("="))
        pinned = align(source, target, {i: j})
        assert worth(source, target, dict(pinned.pairs)) == best
    return len(carriers) > 1


def test_a_rival_that_differs_only_on_one_of_two_equal_ways():
    """The ways differ in a layer without common weights; only one of them meets a rival before they meet."""
    source = [conv(-1, width=4, kind="Sub"), conv(0, kind="Sub"), conv(-1, width=4)]
    target = [conv(-1, kind="Sub") for _ in range(3)]
    target += [free("Concat", 0), free("Concat", 3), conv(-1, 0)]
    assert is_best(source, target)
    assert align(source, target).ambiguity == "source layer 1 (Sub) could be layer 1 or 2"
