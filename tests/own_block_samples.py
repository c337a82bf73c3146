"""Good and broken blocks as other people write them, and a package with one."""

import textwrap

HEAD = """
    import types

    import torch
    import torch.nn.functional as F
    from torch import nn

    import yolo_attn
"""
GOOD = """
    @yolo_attn.register("Gate")
    class Gate(nn.Module):
        def __init__(self, channels, reduction: int = 16, residual: bool = False):
            super().__init__()
            self.down = nn.Conv2d(channels, channels // reduction, 1)
            self.up = nn.Conv2d(channels // reduction, channels, 1)
            self.gamma = nn.Parameter(torch.zeros(1)) if residual else None

        def forward(self, x):
            y = x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
            return y if self.gamma is None else x + self.gamma * (y - x)

    @yolo_attn.register("Widened", output="argument", repeats="argument")
    class Widened(nn.Module):
        def __init__(self, channels, out, n, factor: int):
            super().__init__()
            self.convs = nn.Sequential(nn.Conv2d(channels, out * factor, 1), nn.Conv2d(out * factor, out, 1))

        def forward(self, x):
            return self.convs(x)

    @yolo_attn.register("Joined", inputs="list")
    class Joined(nn.Module):
        def __init__(self, channels, factor: int = 1):
            super().__init__()
            self.convs = nn.Sequential(
                nn.Conv2d(sum(channels), channels[-1] * factor, 1), nn.Conv2d(channels[-1] * factor, channels[-1], 1)
            )

        def forward(self, maps):
            return self.convs(torch.cat(maps, 1))

    def same_channels(channels, options):
        return channels

    @yolo_attn.register("Resized", inputs="list", pyramid=True, output=same_channels, repeats="never")
    class Resized(nn.Module):
        def __init__(self, channels, factor: int = 1):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(c, c, 2 * factor - 1, padding=factor - 1) for c in channels)

        def forward(self, maps):
            return [conv(m) for conv, m in zip(self.convs, maps)]

    class Unregistered(nn.Module):
        def __init__(self, channels):
            super().__init__()
"""
# Class -> what stands in __init__, what forward returns, and the checks that must fail. ``s`` has a value per channel.
BROKEN = {
    "RoundsSizes": (
        "",
        "F.interpolate(F.avg_pool2d(x, 2, ceil_mode=True), scale_factor=2.0) * s",
        "keeps_shape_and_dtype",
    ),
    "MixesSamples": ("", "(x + x.mean(0, keepdim=True)) * s", "does_not_mix_samples_in_eval"),
    "WritesItsInput": ("", "x.add_(s)", "leaves_its_input_alone right_after_ultralytics_sets_inplace"),
    "HasALambda": (
        "self.act = lambda x: x * 2",
        "self.act(x) * s",
        "copies_pickles_and_reloads fuses_saves_and_loads_in_a_model",
    ),
    "Views": ("", "x.view(x.shape[0], -1).reshape(x.shape) * s", "channels_last_agrees"),
    "FixesItsSize": (
        "",
        "(x * s).flatten(2).reshape(-1, x.shape[1], int(x.shape[2]), int(x.shape[3]))",
        "exports_to_torchscript exports_to_onnx",
    ),
    "StoresACount": ("", "setattr(self, 'calls', 1) or x * s", "keeps_nothing_from_forward"),
    "HasAType": ("self.type = 'gate'", "x * s", "takes_no_name_that_ultralytics_uses"),
    "Squares": ("", "x * x / 100 * s", "large_inputs_stay_finite_in_a_half_model"),
    "MakesFloat32": ("", "x * s + torch.ones(1, 1, 1, 1)", "keeps_shape_and_dtype half_precision_stays_near_float32"),
    "NormsPooled": (
        "self.norm = nn.BatchNorm2d(channels)",
        "x * self.norm(x.mean((2, 3), keepdim=True)) * s",
        "trains_with_one_image",
    ),
    "HasADeadPart": (
        "self.lost = nn.Parameter(torch.ones(channels, 1, 1))",
        "x * s",
        "every_parameter_learns trains_with_one_image",
    ),
    "ForgetsWidths": (
        "self.few = nn.Conv2d(channels, channels // 32, 1)",
        "x * s + self.few(x).mean(1, keepdim=True)",
        "every_width_builds_or_is_refused",
    ),
    "HoldsAnObject": ("self.settings = types.SimpleNamespace(a=1)", "x * s", "fuses_saves_and_loads_in_a_model"),
}
SIGNATURES = {  # class -> the constructor's options, and the checks that must fail
    "IgnoresReduction": ("reduction: int = 4", "ignores_no_option"),
    "TakesAnything": ("**options", "refuses_unknown_options"),
    "AddsAResidual": ("residual: bool = False", "starts_as_the_identity_with_residual"),
}


def source(name, options="", init="", value="x * s"):
    return f"""
    @yolo_attn.register("{name}")
    class {name}(nn.Module):
        def __init__(self, channels{f", {options}" if options else ""}):
            super().__init__()
            self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.5))
            {init}

        def forward(self, x):
            s = self.scale
            return {value}
    """


def write_modules(folder):
    """Write a module with a good block, and one with the broken ones."""
    (folder / "gates.py").write_text(textwrap.dedent(f"{HEAD}{GOOD}"))
    broken = [source(name, init=init, value=value) for name, (init, value, _) in BROKEN.items()]
    broken.append(source("IgnoresReduction", "reduction: int = 4"))
    broken.append(source("TakesAnything", "**options"))
    broken.append(
        source(
            "AddsAResidual",
            "residual: bool = False",
            "self.residual = residual",
            "x * s + x if self.residual else x * s",
        )
    )
    (folder / "broken.py").write_text("".join(map(textwrap.dedent, [HEAD, *broken])))


PYPROJECT = """
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"

    [project]
    name = "my-gates"
    version = "1.0"

    [project.entry-points."yolo_attn.blocks"]
    my_gates = "my_gates.blocks"
"""
PACKAGE = {
    "pyproject.toml": PYPROJECT,
    "my_gates/__init__.py": "",
    "my_gates/parts.py": """
    import torch
    from torch import nn

    class Squeeze(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.down = nn.Conv2d(channels, channels // reduction, 1)
            self.up = nn.Conv2d(channels // reduction, channels, 1)

        def forward(self, x):
            return self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
    """,
    "my_gates/blocks.py": """
    import yolo_attn
    from torch import nn
    from .parts import Squeeze

    @yolo_attn.register("MyGate")
    class MyGate(nn.Module):
        def __init__(self, channels, reduction: int = 16):
            super().__init__()
            self.squeeze = Squeeze(channels, reduction)

        def forward(self, x):
            return x * self.squeeze(x)
    """,
}


def write_package(folder):
    """Write the sources of an installable package with a block."""
    for name, text in PACKAGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
