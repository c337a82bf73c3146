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


def test_the_same_list():
    layers = chain(conv(), free("Up"), conv(), conv(width=4))
    found = align(layers, layers)
    assert found.pairs == {0: 0, 1: 1, 2: 2, 3: 3}
    assert found.ambiguity is None
    assert found.fitting == 9


def test_inserted_removed_and_replaced_rows():
    a, b, c, d = (conv(width=w) for w in (2, 3, 4, 5))
    attention = conv(width=4, kind="EMA")
    assert align(chain(a, b, c), chain(a, attention, b, free("Up"), c)).pairs == {0: 0, 1: 2, 2: 4}
    assert align(chain(a, attention, b, c), chain(a, b, c)).pairs == {0: 0, 2: 1, 3: 2}
    assert align(chain(a, b, c, d), chain(a, attention, c, d)).pairs == {0: 0, 2: 2, 3: 3}
    found = align(chain(a, b, c), chain(a, attention, b, c))
    assert found.fitting == 9


def test_a_pair_needs_one_kind_or_a_common_class_and_tensors():
    detect = Layer("Detect", frozenset({"Detect"}), (0,), "", {"cv2.weight": (4,), "cv3.weight": (80,)})
    segment = Layer("Segment", frozenset({"Segment", "Detect"}), (0,), "", {"cv2.weight": (4,), "proto.weight": (9,)})
    classify = Layer("Classify", frozenset({"Classify"}), (0,), "", {"cv2.weight": (4,)})
    other = Layer("Pose", frozenset({"Pose", "Detect"}), (0,), "", {"cv2.weight": (5,)})
    assert align([conv(-1), detect], [conv(-1), segment]).pairs == {0: 0, 1: 1}
    assert align([conv(-1), detect], [conv(-1), classify]).pairs == {0: 0}
    assert align([conv(-1), detect], [conv(-1), other]).pairs == {0: 0}
    assert align([conv(-1)], [conv(-1, width=3)]).pairs == {0: 0}  # the same kind, another size: no weights, one place


def test_a_row_twice_is_ambiguous_where_readers_cannot_tell():
    """6 and 7 are the same layer; both who read it read the second, which reads the first."""
    source = [conv(-1, width=2), conv(0), conv(1, width=3), free("Concat", 2, 1)]
    target = [conv(-1, width=2), conv(0), conv(1), conv(2, width=3), free("Concat", 3, 2)]
    found = align(source, target)
    assert found.ambiguity == "source layer 1 (Conv) could be layer 1 or 2"
    assert found.pin == "1=1"
    assert align(source, target, {1: 1}).pairs == {0: 0, 1: 1, 2: 3, 3: 4}
    assert align(source, target, {1: 2}).pairs == {0: 0, 1: 2, 2: 3, 3: 4}
    assert align(source, target, {1: 2}).ambiguity is None
    back = align(target, source)
    assert back.ambiguity == "layer 1 (Conv) could be source layer 1 or 2"
    assert align(target, source, {2: 1}).pairs == {0: 0, 2: 1, 3: 2, 4: 3}


def test_three_candidates_are_all_named():
    source = chain(conv(width=2), conv(), conv(width=3))
    target = chain(conv(width=2), conv(), conv(), conv(), conv(width=3))
    assert align(source, target).ambiguity == "source layer 1 (Conv) could be layer 1 or 2 or 3"


@pytest.mark.parametrize(("reads", "partner"), [((3, 1), 1), ((3, 2), None)])
def test_who_reads_a_layer_decides(reads, partner):
    """The concatenation reads the first of two equal layers: that is the old one, the other was inserted."""
    source = [conv(-1, width=2), conv(0), conv(1, width=3), free("Concat", 2, 1)]
    target = [conv(-1, width=2), conv(0), conv(1), conv(2, width=3), free("Concat", *reads)]
    found = align(source, target)
    assert (found.ambiguity is None) == (partner is not None)
    assert partner is None or found.pairs[1] == partner


def test_what_a_layer_reads_decides():
    """Two equal layers side by side on different maps: a third of them was inserted on the map of the first."""
    source = [conv(-1, width=2), conv(0, width=3), conv(0), conv(1)]
    target = [conv(-1, width=2), conv(0, width=3), conv(0), conv(0), conv(1)]
    assert align(source, target).ambiguity == "source layer 2 (Conv) could be layer 2 or 3"
    target[2] = conv(1)
    assert align(source, target).pairs == {0: 0, 1: 1, 2: 3, 3: 4}


def test_arguments_decide_before_references():
    source = chain(conv(width=2), conv(row="a"), conv(width=3))
    target = chain(conv(width=2), conv(row="b"), conv(row="a"), conv(width=3))
    found = align(source, target)
    assert found.ambiguity is None
    assert found.pairs[1] == 2


def test_rows_without_weights_may_be_tied():
    source = chain(conv(width=2), free("Up"), conv(width=3))
    target = chain(conv(width=2), free("Up"), free("Up"), conv(width=3))
    found = align(source, target)
    assert found.ambiguity is None
    assert {0: 0, 2: 3}.items() <= found.pairs.items()


def test_a_list_block_that_is_read_instead_of_one_of_its_inputs():
    """Whoever read layer 2 now reads a new layer that reads 0, 1 and 2: still a better match than any other."""
    source = [conv(-1, width=2), conv(0, width=3), conv(1, width=4), conv(2), conv(0)]
    target = [conv(-1, width=2), conv(0, width=3), conv(1, width=4), free("PMFS", 0, 1, 2), conv(3), conv(0)]
    assert align(source, target).pairs == {0: 0, 1: 1, 2: 2, 3: 4, 4: 5}


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


@pytest.mark.parametrize("text", ["6", "6=", "a=7", "6=7,", "6=7;8=9", "-1=2"])
def test_pins_that_are_no_pairs(text):
    with pytest.raises(ArgumentError, match=rf"map={text} must be pairs source=target"):
        parse_pins(text)


def test_pins_from_words():
    assert parse_pins("6=7, 8=10") == {6: 7, 8: 10}
    with pytest.raises(ArgumentError, match="map=6=7,6=8 names source layer 6 twice"):
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
