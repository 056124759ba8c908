"""One small function per lowering rule or more: what is run in LiteRT and in eager, and compared."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

from edgegen.testing.ops.aten_cases import ATEN_CASES
from edgegen.testing.ops.cases import A, Case, Inputs, ints, one, pos, positive, rand, two
from edgegen.tracing import dynamic_update_slice


def compared_with(name: str, number: float, inputs: Inputs) -> Case:
    """A comparison with a number."""
    return Case(f"{name}.Scalar", lambda a: getattr(torch, name)(a, number), inputs)


CASES = [
    # elementwise
    Case("add", lambda a, b: a + b, two(A, A)),
    Case("add broadcast", lambda a, b: a + b, two(A, (1, 4))),
    Case("add alpha", lambda a, b: torch.add(a, b, alpha=3), two(A, A)),
    Case("add scalar", lambda a: a + 1.5, one(*A)),
    Case("add.Scalar", lambda a: torch.ops.aten.add.Scalar(a, 2.5), one(*A)),
    Case("sub", lambda a, b: a - b, two(A, A)),
    Case("sub.Scalar", lambda a: torch.ops.aten.sub.Scalar(a, 2.5), one(*A)),
    Case("rsub", lambda a: 1.0 - a, one(*A)),
    Case("rsub.Tensor", lambda a, b: torch.rsub(a, b, alpha=2), two(A, A)),
    Case("mul", lambda a, b: a * b, two(A, (3, 1))),
    Case("mul.Scalar", lambda a: torch.ops.aten.mul.Scalar(a, 2.5), one(*A)),
    Case("mul integers", lambda a: a * 3, lambda: (ints(4),)),
    Case("mixed types", lambda a, b: a + b, lambda: (ints(4), rand(4))),
    Case("div", lambda a, b: a / b, lambda: (rand(*A), positive(*A))),
    Case("div.Scalar", lambda a: torch.ops.aten.div.Scalar(a, 2.5), one(*A)),
    Case("maximum", torch.maximum, two(A, A)),
    Case("minimum", torch.minimum, two(A, A)),
    *(
        Case(f"{name} {kind}", getattr(torch, name), inputs)
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
        for kind, inputs in {"floats": two(A, A), "integers": lambda: (ints(9), ints(9))}.items()
    ),
    *(compared_with(name, 2, lambda: (ints(9),)) for name in ("eq", "ne")),
    *(compared_with(name, 0.5, one(*A)) for name in ("lt", "le", "gt", "ge")),
    Case("logical_and", lambda a, b: torch.logical_and(a > 0, b > 0), two(A, A)),
    Case("bitwise_and", lambda a, b: (a > 0) & (b > 0), two(A, A)),
    Case("logical_or", lambda a, b: torch.logical_or(a > 0, b > 0), two(A, A)),
    Case("bitwise_or", lambda a, b: (a > 0) | (b > 0), two(A, A)),
    Case("logical_not", lambda a: torch.logical_not(a > 0), one(*A)),
    Case("bitwise_not", lambda a: ~(a > 0), one(*A)),
    *(
        Case(name, getattr(torch, name), one(*A))
        for name in ("abs", "ceil", "cos", "exp", "floor", "neg", "relu", "round", "sigmoid", "sin", "tanh")
    ),
    Case(
        "cos and sin of far positions",
        lambda a: torch.cat([a.cos(), a.sin()]),
        lambda: (rand(64, low=0, high=8192),),
    ),
    *(Case(name, getattr(torch, name), pos(*A)) for name in ("log", "rsqrt", "sqrt")),
    Case("silu", F.silu, one(*A)),
    Case("gelu", F.gelu, one(*A), tolerance=1e-4),
    Case("gelu tanh", lambda a: F.gelu(a, approximate="tanh"), one(*A), tolerance=1e-4),
    Case("pow 2", lambda a: a**2, one(*A)),
    Case("pow 0.5", lambda a: a**0.5, pos(*A)),
    Case("pow -0.5", lambda a: a**-0.5, pos(*A)),
    Case("pow 3", lambda a: a**3.0, pos(*A), tolerance=1e-4),
    Case("clamp", lambda a: a.clamp(-0.5, 0.5), one(*A)),
    Case("clamp below", lambda a: a.clamp(min=0.1), one(*A)),
    Case("where", lambda a, b: torch.where(a > 0, a, b), two(A, A)),
    Case("where.Scalar", lambda a: torch.where(a > 0, 1.0, 2.0), one(*A)),
    Case("where.ScalarOther", lambda a: torch.where(a > 0, a, 2.0), one(*A)),
    Case("where.ScalarSelf", lambda a: torch.where(a > 0, 2.0, a), one(*A)),
    Case("masked_fill", lambda a: a.masked_fill(a > 0, 7.0), one(*A)),
    Case("masked_fill.Tensor", lambda a: a.masked_fill(a > 0, torch.tensor(7.0)), one(*A)),
    Case("to integers and back", lambda a: a.to(torch.int32).to(torch.float32), one(*A)),
    Case("to.dtype_layout", lambda a: torch.ops.aten.to.dtype_layout(a, dtype=torch.int32), one(*A)),
    Case("to.device", lambda a: torch.ops.aten.to.device(a, a.device, torch.int32), one(*A)),
    Case("_to_copy", lambda a: torch.ops.aten._to_copy(a, dtype=torch.int32) + 1, one(*A)),
    Case("clone", lambda a: a.clone() + 1, one(*A)),
    Case("alias", lambda a: torch.ops.aten.alias(a) + 1, one(*A)),
    Case("detach", lambda a: torch.ops.aten.detach(a) + 1, one(*A)),
    Case("contiguous", lambda a: a.transpose(0, 1).contiguous() + 1, one(*A)),
    Case("dropout", lambda a: F.dropout(a, 0.5, training=False) + 1, one(*A)),
    # shape
    Case("view", lambda a: a.view(6, 4), one(*A)),
    Case("reshape", lambda a: a.reshape(4, -1), one(*A)),
    Case("_unsafe_view", lambda a: torch.ops.aten._unsafe_view(a, [6, 4]), one(*A)),
    Case("unsqueeze", lambda a: a.unsqueeze(1), one(*A)),
    Case("squeeze", lambda a: a.squeeze(1), one(2, 1, 4)),
    Case("squeeze all", lambda a: a.squeeze(), one(2, 1, 4, 1)),
    Case("squeeze.dims", lambda a: a.squeeze((1, 3)), one(2, 1, 4, 1)),
    Case("flatten", lambda a: a.flatten(1), one(*A)),
    Case("unflatten", lambda a: a.unflatten(-1, (2, 2)), one(*A)),
    Case("permute", lambda a: a.permute(2, 0, 1), one(*A)),
    Case("transpose", lambda a: a.transpose(-1, 0), one(*A)),
    Case("t", torch.t, one(3, 5)),
    Case("expand", lambda a: a.expand(2, 3, 4), one(3, 1)),
    Case("repeat", lambda a: a.repeat(2, 1, 3), one(3, 4)),
    Case("cat", lambda a, b: torch.cat([a, b], dim=-1), two(A, (2, 3, 1))),
    Case("stack", lambda a, b: torch.stack([a, b], dim=1), two(A, A)),
    Case("slice", lambda a: a[:, 1:3], one(2, 5, 3)),
    Case("slice from the end", lambda a: a[..., -2:], one(2, 5, 3)),
    Case("narrow", lambda a: torch.narrow(a, 1, 1, 3), one(2, 5, 3)),
    Case("select", lambda a: a[:, -1], one(2, 5, 3)),
    Case("split_with_sizes", lambda a: torch.split(a, [1, 4], dim=1), one(2, 5, 3)),
    Case("split", lambda a: torch.split(a, 2, dim=1), one(2, 5, 3)),
    Case("chunk", lambda a: a.chunk(2, dim=-1), one(2, 5, 6)),
    Case(
        "update",
        lambda a, b, s: dynamic_update_slice(a, b, s, 1),
        lambda: (rand(2, 6, 3), rand(2, 2, 3), ints(1)),
    ),
    Case(
        "update past the end",
        lambda a, b, s: dynamic_update_slice(a, b, s + 5, 1),
        lambda: (rand(2, 6, 3), rand(2, 2, 3), ints(1)),
    ),
    # products
    Case("linear", F.linear, two((2, 3, 4), (5, 4))),
    Case("linear with bias", F.linear, lambda: (rand(2, 4), rand(5, 4), rand(5))),
    Case("matmul", torch.matmul, two((2, 3, 4), (2, 4, 5))),
    Case("matmul broadcast", torch.matmul, two((2, 3, 4), (4, 5))),
    Case("matmul vector", torch.matmul, two((2, 3, 4), (4,))),
    Case("bmm", torch.bmm, two((2, 3, 4), (2, 4, 5))),
    Case("mm", torch.mm, two((3, 4), (4, 5))),
    Case("addmm", torch.addmm, lambda: (rand(5), rand(3, 4), rand(4, 5))),
    Case("embedding", lambda table, ids: F.embedding(ids, table), lambda: (rand(5, 3), ints(2, 4))),
    Case("index_select", lambda a, i: torch.index_select(a, 1, i), lambda: (rand(2, 5, 3), ints(4))),
    # reductions and normalizations
    Case("mean", lambda a: a.mean(-1, keepdim=True), one(*A)),
    Case("mean of all", lambda a: a.mean(), one(*A)),
    Case("sum", lambda a: a.sum((0, 2)), one(*A)),
    Case("sum of all", lambda a: a.sum(), one(*A)),
    Case("amax", lambda a: a.amax(1), one(*A)),
    Case("amin", lambda a: a.amin((0, 1), keepdim=True), one(*A)),
    Case("softmax", lambda a: a.softmax(-1), one(*A)),
    Case("softmax of an inner axis", lambda a: a.softmax(1), one(*A)),
    Case("_softmax", lambda a: torch.ops.aten._softmax(a, -1, False), one(*A)),
    Case("rms_norm", lambda a, w: F.rms_norm(a, (4,), w, 1e-6), two(A, (4,))),
    Case("rms_norm without weight", lambda a: F.rms_norm(a, (4,)), one(*A)),
    Case("layer_norm", lambda a, w, b: F.layer_norm(a, (4,), w, b), lambda: (rand(*A), rand(4), rand(4))),
    Case("layer_norm without weight", lambda a: F.layer_norm(a, (4,)), one(*A)),
    # what PyTorch decomposes for us
    Case("addcmul", lambda a, b: torch.addcmul(a, a, b, value=0.5), two(A, A)),
    Case("mse_loss", F.mse_loss, two(A, A)),
    Case("in-place", lambda a: a.clone().add_(1).mul_(2), one(*A)),
    *ATEN_CASES,
]
