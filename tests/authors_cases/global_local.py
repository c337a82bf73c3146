"""Global attention and its parts."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from yolo_attn.blocks import MultiHeadGlobalAttention
from yolo_attn.blocks.nn.attention_kernels import PerformerAttention
from yolo_attn.blocks.nn.positions import RotaryPositionEmbedding
from yolo_attn.blocks.nn.windows import split_windows

from .case import AuthorsCase, renamed

SWIN = {
    r"(attn\.)?relative_position_bias_table": "biases.0.relative_position_bias_table",
    r"(attn\.)?qkv\.": "qkv.",
    r"(attn\.)?proj\.": "out.",
}


def sides(window):
    return (window, window) if isinstance(window, int) else tuple(window)


def square(meta):
    height, width = sides(meta.get("window", meta.get("window_size")))
    assert height == width, "our windows are square"
    return height


def offsets_index(window):
    """Where each pair of a window finds its bias in a table of one row for each offset."""
    y, x = np.divmod(np.arange(window * window), window)
    return (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1


def swin(tensors):
    """Table (offsets, heads) to (heads, offsets, offsets); linear layers to convolutions by shape."""
    tensors = dict(tensors)
    for name in [n for n in tensors if n.endswith("relative_position_index")]:
        index = tensors.pop(name).numpy()
        assert np.array_equal(index, offsets_index(round(len(index) ** 0.5)))
    given = renamed(SWIN)({k: v for k, v in tensors.items() if k != "attn_mask"})
    return {k: v.t() if k.endswith("table") else v for k, v in given.items()}  # of attn_mask: see cyclic_mask


def window_attention(meta):
    return MultiHeadGlobalAttention(
        meta["dim"], meta["heads"], extent="window", window=square(meta), qkv_bias=meta.get("qkv_bias", True)
    )


def of_windows(module, inputs):
    x = inputs[0]
    side = round(x.shape[1] ** 0.5)
    y = module(x.transpose(1, 2).unflatten(2, (side, side)))
    return y.flatten(2).transpose(1, 2)


def shifted_attention(meta):
    return MultiHeadGlobalAttention(
        meta["dim"],
        meta["heads"],
        extent="shifted" if meta["shift"] else "window",
        window=square(meta),
        shift=meta["shift"] or None,
        qkv_bias=meta.get("qkv_bias", True),
    )


def cyclic_mask(height, width, window, shift):
    """Their mask from our windows: 0 where two positions of a cyclic window are in one window of ours, else -100."""
    axes = [
        MultiHeadGlobalAttention(8, 1, extent="shifted", window=window, shift=shift).axis(n, window)
        for n in (height, width)
    ]
    places = torch.arange(1, height * width + 1, dtype=torch.float64).reshape(1, 1, height, width, 1)
    ours = torch.zeros(height * width + 1)
    for number, places_in_window in enumerate(split_windows(places, *axes, keys=False)):
        ours[places_in_window.flatten().long()] = number
    rolled = ours[1:].reshape(height, width).roll((-shift, -shift), (0, 1))
    theirs = rolled.reshape(height // window, window, width // window, window).transpose(1, 2).flatten(2).flatten(0, 1)
    return torch.where(theirs.unsqueeze(1) == theirs.unsqueeze(2), 0.0, -100.0).double()


def linformer(meta):
    return MultiHeadGlobalAttention(
        meta["dim"],
        meta["heads"],
        kernel="linformer",
        position="none",
        linformer_size=meta["k"],
        linformer_grid=[meta["seq_len"], 1],
    )


def joined_qkv(tensors):
    table = {r"proj_([kv])$": r"kernel.proj_\1", r"to_out\.": "out."}
    given = {k: v for k, v in tensors.items() if k.removeprefix("to_")[:2] not in ("q.", "k.", "v.")}
    given = renamed(table)(given)
    if "to_q.weight" in tensors:
        given["qkv.weight"] = torch.cat([tensors[f"to_{n}.weight"] for n in "qkv"])
    return given


def of_sequence(module, inputs):
    return module(inputs[0].transpose(1, 2).unsqueeze(3)).squeeze(3).transpose(1, 2)


def performer(module, inputs):
    return module(*(t.unsqueeze(3) for t in inputs)).squeeze(3)


class AxialRope(nn.Module):
    def __init__(self, meta):
        super().__init__()
        self.size = (meta["height"], meta["width"])
        self.rotation = RotaryPositionEmbedding(1, meta["dim_head"], meta["theta"], mixed=False)

    def forward(self, q, k):
        q, k = self.rotation(q.unflatten(2, self.size), k.unflatten(2, self.size))
        return q.flatten(2, 3), k.flatten(2, 3)


class UNetFormer(nn.Module):
    """Their arrangement in torch's own operations around our window attention, which is the part that we have."""

    def __init__(self, meta):
        super().__init__()
        C, self.window = meta["dim"], square(meta)
        self.attention = MultiHeadGlobalAttention(C, meta["heads"], extent="window", window=self.window)
        self.attention.out = nn.Identity()
        self.near = nn.ModuleList(
            nn.Sequential(nn.Conv2d(C, C, k, padding=k // 2, bias=False), nn.BatchNorm2d(C)) for k in (3, 1)
        )
        depthwise = nn.Conv2d(C, C, self.window, padding=(self.window - 1) // 2, groups=C, bias=False)
        self.end = nn.Sequential(depthwise, nn.BatchNorm2d(C), nn.Conv2d(C, C, 1, bias=False))

    def forward(self, x):
        H, W = x.shape[2:]
        w = self.window
        padded = F.pad(x, (0, -W % w, 0, -H % w), mode="reflect")
        far = self.attention(padded)[:, :, :H, :W]
        down = F.avg_pool2d(F.pad(far, (0, 0, 0, 1), mode="reflect"), (w, 1), 1, (w // 2 - 1, 0))
        across = F.avg_pool2d(F.pad(far, (0, 1, 0, 0), mode="reflect"), (1, w), 1, (0, w // 2 - 1))
        y = down + across + sum(near(x) for near in self.near)
        return self.end(F.pad(y, (0, 1, 0, 1), mode="reflect"))[:, :, :H, :W]


def unetformer(tensors):
    tensors = {k: v for k, v in tensors.items() if k != "relative_position_index"}
    table = {
        r"relative_position_bias_table": "attention.biases.0.relative_position_bias_table",
        r"qkv\.0\.": "attention.qkv.",
        r"local1\.": "near.0.",
        r"local2\.": "near.1.",
        r"proj\.": "end.",
    }
    return {k: v.t() if k.endswith("table") else v for k, v in renamed(table)(tensors).items()}


BLOCKS = {
    "window attention + relative position bias": AuthorsCase(make=window_attention, ours=swin, run=of_windows),
    "shifted window attention": AuthorsCase(make=shifted_attention, ours=swin),
    "Linformer": AuthorsCase(make=linformer, ours=joined_qkv, run=of_sequence),
    "Performer FAVOR+ softmax kernel": AuthorsCase(
        make=lambda meta: PerformerAttention(meta["dim_head"], meta["nb_features"], meta["eps"]),
        ours=renamed({r"projection_": "projection_"}),
        run=performer,
    ),
    "axial 2-D RoPE": AuthorsCase(make=AxialRope, ours=renamed({}), tolerance=1e-5),
    "UNetFormer GlobalLocalAttention": AuthorsCase(make=UNetFormer, ours=unetformer),
}
