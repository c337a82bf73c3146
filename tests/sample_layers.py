"""Layers of every kind, and a tiny model to put them into."""

import copy

import torch
from torch import nn
from ultralytics.nn import tasks


class Plain(nn.Module):
    """Reads one map, keeps the channels."""

    def __init__(self, channels, reduction=2, mode="max", eps=1e-3):
        super().__init__()
        if reduction < 1:
            raise ValueError(f"Plain: reduction={reduction} must be at least 1")
        self.channels, self.reduction, self.mode, self.eps = channels, reduction, mode, eps
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.conv(x)


class Wide(nn.Module):
    """The row gives the output's channels."""

    def __init__(self, channels, out, kernel=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel)

    def forward(self, x):
        return self.conv(x)


class Deep(nn.Module):
    """Takes the repeat count; a class for the place of C3k2."""

    def __init__(self, channels, out, n=1, kernel=1):
        super().__init__()
        self.n, self.kernel = n, kernel
        self.convs = nn.Sequential(nn.Conv2d(channels, out, 1), *(nn.Conv2d(out, out, 1) for _ in range(n - 1)))

    def forward(self, x):
        return self.convs(x)


class Lists(nn.Module):
    """Reads a list of maps."""

    def __init__(self, channels, kernel=1):
        super().__init__()
        self.channels, self.kernel = channels, kernel
        self.conv = nn.Conv2d(channels[-1], channels[-1], kernel)

    def forward(self, maps):
        return self.conv(maps[-1])


class Gather(nn.Module):
    """Reads a list of maps; the row gives the output's channels."""

    def __init__(self, channels, out):
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(sum(channels), out, 1)

    def forward(self, maps):
        return self.conv(torch.cat(maps, 1))


class Pyramid(nn.Module):
    """Returns a list of maps, each with ``more`` channels added."""

    def __init__(self, channels, more=0):
        super().__init__()
        self.channels = channels
        self.convs = nn.ModuleList(nn.Conv2d(c, c + more, 1) for c in channels)

    def forward(self, maps):
        return [conv(m) for conv, m in zip(self.convs, maps, strict=True)]


class Level(nn.Module):
    """Reads one map of a pyramid."""

    def __init__(self, channels, level=0):
        super().__init__()
        self.channels, self.level = channels, level

    def forward(self, maps):
        return maps[self.level]


class Switched(nn.Module):
    """Does something else as a layer than as a class."""

    def __init__(self, channels, reduction=2, apply=False):
        super().__init__()
        self.reduction, self.applied = reduction, apply

    def forward(self, x):
        return x if self.applied else x.mean()


def add_all(registry):
    """Register them."""
    add = registry.register
    add("Plain")(Plain)
    add("ByPlace", positional=("mode", "eps"))(type("ByPlace", (Plain,), {}))
    add("Once", repeats="never")(type("Once", (Plain,), {}))
    add("Wide", output="argument")(Wide)
    add("Deep", output="argument", repeats="argument", positional=("kernel",))(Deep)
    add("Csp", output="argument", repeats="argument", replaces_csp=True)(type("Csp", (Deep,), {}))
    add("Lists", inputs="list")(Lists)
    add("First", inputs="list", output=0)(type("First", (Lists,), {}))
    add("Third", inputs="list", output=2)(type("Third", (Lists,), {}))
    add("Gather", inputs="list", output="argument")(Gather)
    wider, one = (lambda c, options: [x + options.get("more", 0) for x in c]), (lambda c, o: c[o.get("level", 0)])
    add("Pyramid", inputs="list", pyramid=True, output=wider, repeats="never")(Pyramid)
    add("Level", inputs="pyramid", positional=("level",), output=one, repeats="never")(Level)
    add("Switched", fixed={"apply": True})(Switched)


def tiny(row, scale="n", **more):
    """A model of 5 layers with ``row`` as layer 2; layers 0 and 1 have 16 and 32 channels at n, 64 and 128 at l."""
    return {
        "nc": 3,
        "scales": {"n": [0.5, 0.25, 1024], "l": [1.0, 1.0, 512]},
        "scale": scale,
        "yaml_file": f"yolo11{scale}-tiny.yaml",
        "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [128, 3, 1]], row],
        "head": [[-1, 1, "Conv", [64, 1]], [[1, 3], 1, "Detect", ["nc"]]],
        **more,
    }


def parse(d):
    return tasks.parse_model(copy.deepcopy(d), ch=3, verbose=False)[0]
