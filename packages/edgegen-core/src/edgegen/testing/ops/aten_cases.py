"""Cases that name an ATen operator and its arguments, where ``torch`` has several or none for it."""

from __future__ import annotations

from typing import Any

import torch

from edgegen.testing.ops.cases import A, Case, Inputs, ints, longs, numbers, one, pos, rand, two

NAN, INF = float("nan"), float("inf")
ODD = numbers(NAN, INF, -INF, 0.0, -0.0, 1.5, -2.5, 0.3, 1e-4)


def aten(name: str, inputs: Inputs, *args: Any, note: str = "", **kwargs: Any) -> Case:
    """``torch.ops.aten.<name>(*inputs, *args, **kwargs)``."""
    operator: Any = torch.ops.aten
    for part in name.split("."):
        operator = getattr(operator, part)
    return Case(f"{name} {note}".strip(), lambda *tensors: operator(*tensors, *args, **kwargs), inputs)


def listed(name: str, inputs: Inputs, indices: list[int | None], *rest: int) -> Case:
    """As :func:`aten`, for operators on a list of indices; the numbers say which inputs they are."""
    operator: Any = torch.ops.aten
    for part in name.split("."):
        operator = getattr(operator, part)

    def function(*given: torch.Tensor) -> Any:
        return operator(given[0], [None if i is None else given[i] for i in indices], *(given[i] for i in rest))

    return Case(name, function, inputs)


def image(*channels_and_size: int) -> Inputs:
    """A batch of two images."""
    return one(2, *channels_and_size)


def apart(*shape: int) -> Inputs:
    """Whole numbers that are all different, so that no position is ambiguous."""
    count = int(torch.tensor(shape).prod())
    return lambda: (torch.randperm(count).reshape(shape),)


def whole(low: int = -9, high: int = 9, divisor: int = 7) -> Inputs:
    """20 dividends from ``low`` to below ``high``, and as many divisors of both signs."""
    return lambda: (longs(20, low=low, high=high), longs(20, low=1, high=divisor) * (1 - 2 * longs(20, high=2)))


LARGE = 1 << 40

ELEMENTWISE = [
    *(
        aten(f"{name}.default", one(*A))
        for name in ("asinh", "atan", "cosh", "elu", "erf", "exp2", "expm1", "hardtanh", "leaky_relu", "sinh", "tan")
    ),
    *(aten(f"{name}.default", pos(*A)) for name in ("log10", "log2", "reciprocal")),
    *(aten(f"{name}.default", lambda: (rand(*A, low=-0.95, high=0.95),)) for name in ("acos", "asin", "atanh")),
    aten("acosh.default", lambda: (rand(*A, low=1.0, high=9.0),)),
    aten("log1p.default", lambda: (torch.tensor([-0.5, 1e-6, 0.3, 40.0]),)),
    *(aten(f"{name}.default", ODD, note="of odd numbers") for name in ("isinf", "isnan", "sign", "signbit", "trunc")),
    *(aten(f"{name}.default", ODD, note="of odd numbers") for name in ("erf", "exp", "expm1", "log", "log1p", "tanh")),
    aten("elu.default", one(*A), 0.5, 2.0, 0.7, note="with scales"),
    *(aten(f"{name}.default", ODD, note="of odd numbers") for name in ("angle", "erfc")),
    aten("erfinv.default", lambda: (torch.tensor([-1.0, -0.9999, -0.7, -1e-6, 0.0, 0.3, 0.99, 1.0]),)),
    aten("hypot.default", lambda: (torch.tensor([3.0, 0.0, 1e30, INF]), torch.tensor([-4.0, 0.0, 1e30, 1.0]))),
    aten("round.decimals", one(*A), decimals=2),
    aten("atan2.default", two(A, (1, 4))),
    aten("copysign.Tensor", two(A, A)),
    aten("copysign.Scalar", one(*A), -1.0),
    *(aten(f"{name}.default", lambda: (ODD()[0], ODD()[0].flip(0))) for name in ("fmax", "fmin", "maximum", "minimum")),
    aten("clamp.Tensor", lambda: (rand(*A), rand(4) - 1, rand(4) + 1)),
    aten("pow.Tensor_Tensor", lambda: (rand(*A, low=0.3), rand(*A))),
    aten("pow.Tensor_Tensor", lambda: (longs(20, low=-4), longs(20, high=70)), note="int64, overflowing"),
    aten("pow.Tensor_Scalar", lambda: (longs(20, low=-9),), 13, note="int64"),
    Case("pow.Scalar", lambda a: torch.ops.aten.pow.Scalar(2.5, a), one(*A)),
    Case(
        "remainder.Scalar_Tensor",
        lambda a: torch.ops.aten.remainder.Scalar_Tensor(7, a),
        lambda: (longs(20, low=1, high=5),),
    ),
]

DIVISION = [
    *(
        aten("div.Tensor_mode", inputs, note=f"{dtype} {rounding}", rounding_mode=rounding)
        for rounding in ("floor", "trunc")
        for dtype, inputs in {
            "float": two(A, A),
            "int32": lambda: tuple(x.int() for x in whole()()),
            "int64": whole(-LARGE, LARGE),
            "huge": whole(-(1 << 61), 1 << 61, LARGE),
        }.items()
    ),
    aten("div.Tensor_mode", lambda: (torch.arange(-20, 20) * 0.1, torch.full((40,), 0.1)), rounding_mode="floor"),
    aten("div.Scalar_mode", one(*A), 0.3, rounding_mode="floor"),
    aten("floor_divide.default", whole()),
    aten("floor_divide.Scalar", one(*A), 0.4),
    *(aten(f"{name}.Tensor", inputs) for name in ("fmod", "remainder") for inputs in (two(A, A), whole())),
    *(aten(f"{name}.Scalar", one(*A), -0.7) for name in ("fmod", "remainder")),
]

BITS = [
    *(aten(f"bitwise_{name}.Tensor", whole(-LARGE, LARGE), note="int64") for name in ("and", "or", "xor")),
    *(aten(f"bitwise_{name}.Scalar", lambda: (longs(9, low=-99, high=99).int(),), 21) for name in ("and", "or", "xor")),
    aten("bitwise_not.default", lambda: (longs(9, low=-99, high=99),), note="int64"),
    aten("bitwise_left_shift.Tensor", lambda: (longs(9, low=-99, high=99), longs(9, high=70)), note="int64"),
    aten("bitwise_left_shift.Tensor_Scalar", lambda: (ints(9),), 3),
    aten("bitwise_right_shift.Tensor", lambda: (longs(9, low=-99, high=99).int(), ints(9, high=40))),
    aten("bitwise_right_shift.Tensor_Scalar", lambda: (ints(9, high=99),), 2),
    aten("logical_xor.default", lambda: (ints(9, high=2), ints(9, high=2))),
]

CONTENTS = [
    aten("copy.default", two(A, (3, 1))),
    aten("fill.Scalar", one(*A), 2.0),
    aten("full_like.default", one(*A), 2.0),
    Case("empty_like", lambda a: torch.ops.aten.fill.Scalar(torch.ops.aten.empty_like(a), 0.0) + a, one(*A)),
]

REDUCTIONS = [
    *(aten(f"{name}.default", lambda: (ints(2, 3, high=2),)) for name in ("all", "any")),
    *(aten(f"{name}.dim", lambda: (ints(2, 3, high=2),), 1) for name in ("all", "any")),
    *(aten(f"{name}.dims", lambda: (ints(2, 3, 4, high=2),), [0, -1]) for name in ("all", "any")),
    *(aten(f"{name}.default", one(*A), 1, note="along") for name in ("argmax", "argmin")),
    *(aten(f"{name}.default", ODD, note="of odd numbers") for name in ("argmax", "argmin", "max", "min", "amax")),
    *(aten(f"{name}.default", lambda: (longs(9, low=-LARGE, high=LARGE),)) for name in ("argmax", "argmin")),
    *(aten(f"{name}.dim", one(*A), -1, True) for name in ("max", "min")),
    *(aten(f"{name}.default", one(*A), 1) for name in ("cummax", "cummin", "cumprod", "cumsum")),
    *(aten(f"{name}.default", ODD, 0, note="of odd numbers") for name in ("cummax", "cummin")),
    aten("prod.default", one(2, 3)),
    aten("prod.dim_int", one(*A), 1),
    aten("var.correction", one(*A), [1], correction=0),
    *(aten("linalg_vector_norm.default", one(*A), p, [0, -1], note=f"p={p}") for p in (0.0, 1.0, 2.0, 3.0, INF, -INF)),
    aten("logcumsumexp.default", lambda: (rand(3, 9, low=-200.0, high=200.0),), 1),
    aten("var.dim", one(*A), [0, 2]),
    aten("var_mean.correction", one(*A), [-1], correction=1, keepdim=True),
]

SORTING = [
    aten("sort.default", one(*A), 1, True),
    aten("sort.stable", lambda: (ints(2, 30),), stable=True, dim=1, descending=False),
    aten("sort.stable", ODD, stable=True, note="of odd numbers"),
    aten("topk.default", apart(3, 9), 4, 1, False),
    aten("kthvalue.default", apart(3, 9), 4),
    aten("median.default", one(*A)),
    *(
        aten("searchsorted.Tensor", lambda: (longs(3, 7).sort()[0], longs(3, 5)), right=right, note=f"right={right}")
        for right in (False, True)
    ),
    aten("bucketize.Tensor", lambda: (rand(*A), torch.tensor([-0.5, 0.0, 0.3]))),
    aten("median.dim", apart(3, 8), 1, True),
]

SHAPES = [
    aten("flip.default", one(*A), [0, 2]),
    aten("diagonal.default", one(*A), 1, 1, 2),
    aten("diagonal_scatter.default", two((4, 5), (3,)), -1),
    *(aten(f"{name}.default", one(3, 4), [2, 2], [1, 4], 2) for name in ("as_strided", "as_strided_copy")),
    *(aten(f"{name}.default", one(2, 9, 3), 1, 4, 2) for name in ("unfold", "unfold_copy")),
    aten("as_strided_scatter.default", two((3, 4), (2, 2)), [2, 2], [1, 4], 2),
    aten("slice.Tensor", one(9, 3), 0, 1, 8, 3, note="with steps"),
    aten("select_scatter.default", two(A, (2, 4)), 1, -1),
    aten("slice_scatter.default", two(A, (2, 2, 4)), 1, 1, 3),
    aten("slice_scatter.default", two((2, 9), (2, 3)), 1, 1, 9, 3, note="with steps"),
    aten("constant_pad_nd.default", one(*A), [1, 2, -1, 0], 0.5),
    *(
        aten(f"{kind}_pad{n}d.default", one(1, 2, *(3, 4, 5)[:n]), [1, 2, 2, 1, 0, 2][: 2 * n])
        for kind in ("reflection", "replication")
        for n in (1, 2, 3)
    ),
]

INDEXING = [
    listed("index.Tensor", lambda: (rand(4, 5, 6), longs(3, low=-4, high=4)), [None, 1]),
    listed("_unsafe_index.Tensor", lambda: (rand(5, 4, 6), longs(3, 1), longs(2)), [1, None, 2]),
    listed("index.Tensor", lambda: (rand(4, 5, 6), longs(3, 1), longs(2)), [None, 1, 2]),
    listed("index_put.default", lambda: (rand(4, 5, 6), longs(3, high=4), rand(3, 6), longs(3)), [1, 3], 2),
    listed("_unsafe_index_put.default", lambda: (rand(4, 5), longs(3), rand(4, 3)), [None, 1], 2),
    Case(
        "index_put accumulating",
        lambda a, i, v: torch.ops.aten.index_put(a, [i], v, True),
        lambda: (rand(4, 5), longs(9, high=4), rand(9, 5)),
    ),
    Case("index_put by mask", lambda a: torch.ops.aten.index_put(a, [a > 0], torch.tensor(7.0)), one(*A)),
    Case(
        "gather",
        lambda a, i: torch.ops.aten.gather(a, 1, i),
        lambda: (rand(2, 5, 3), longs(2, 4, 3)),
    ),
    Case(
        "scatter.src",
        lambda a, i, v: torch.ops.aten.scatter.src(a, 1, i, v),
        lambda: (rand(2, 5, 3), torch.argsort(torch.rand(2, 5, 3), 1)[:, :4], rand(2, 5, 3)),
    ),
    Case(
        "scatter.value",
        lambda a, i: torch.ops.aten.scatter.value(a, 0, i, 3.5),
        lambda: (rand(5, 3), longs(4, 3)),
    ),
    Case(
        "scatter_add",
        lambda a, i, v: torch.ops.aten.scatter_add(a, 0, i, v),
        lambda: (rand(5, 3), longs(9, 3), rand(9, 3)),
    ),
    *(
        Case(
            f"scatter_reduce {kind} {own}",
            lambda a, i, v, kind=kind, own=own: torch.ops.aten.scatter_reduce.two(a, 0, i, v, kind, include_self=own),
            lambda: (rand(5, 3), longs(9, 3), rand(9, 3)),
        )
        for kind in ("sum", "prod", "amax", "amin", "mean")
        for own in (True, False)
    ),
    *(
        Case(
            f"index_reduce {kind}",
            lambda a, i, v, kind=kind: torch.ops.aten.index_reduce(a, 1, i, v, kind, include_self=kind != "mean"),
            lambda: (rand(3, 5), longs(9), rand(3, 9)),
        )
        for kind in ("prod", "amax", "amin", "mean")
    ),
    *(
        Case(
            f"put {add}",
            lambda a, i, v, add=add: torch.ops.aten.put(a, i, v, add),
            lambda: (rand(3, 5), torch.tensor([2, -1, 7]), rand(3)),
        )
        for add in (False, True)
    ),
    Case("take", torch.take, lambda: (rand(3, 5), torch.tensor([[2, -1], [7, 0]]))),
    Case(
        "masked_scatter",
        lambda a, v: torch.ops.aten.masked_scatter(a, a > 0, v),
        two(A, (30,)),
    ),
]

PRODUCTS = [
    aten("addbmm.default", lambda: (rand(3, 5), rand(2, 3, 4), rand(2, 4, 5)), alpha=0.5, beta=2),
    aten("baddbmm.default", lambda: (rand(2, 3, 5), rand(2, 3, 4), rand(2, 4, 5)), alpha=0.5),
    aten("mm.default", lambda: (longs(3, 4), longs(4, 5)), note="int64"),
    *(aten("_cdist_forward.default", two((2, 3, 4), (2, 5, 4)), p, None, note=f"p={p}") for p in (0.0, 1.0, 2.0, 3.0)),
    aten("_pdist_forward.default", one(4, 3), INF),
    Case("bilinear", torch.nn.functional.bilinear, lambda: (rand(4, 3), rand(4, 2), rand(5, 3, 2), rand(5))),
]


def convolution(note: str, x: tuple[int, ...], weight: tuple[int, ...], *options: Any) -> Case:
    """Options as ``aten.convolution`` has them: stride, padding, dilation, transposed, output padding, groups."""
    outputs = weight[1] * options[5] if options[3] else weight[0]
    return aten("convolution.default", lambda: (rand(*x), rand(*weight), rand(outputs)), *options, note=note)


IMAGES = [
    convolution("1d", (2, 3, 9), (4, 3, 3), [2], [1], [1], False, [0], 1),
    convolution("same", (1, 3, 8, 9), (4, 3, 3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
    convolution("strided", (1, 3, 8, 9), (4, 3, 3, 3), [2, 2], [1, 1], [1, 1], False, [0, 0], 1),
    convolution("dilated", (1, 3, 9, 9), (4, 3, 3, 3), [1, 1], [2, 0], [2, 2], False, [0, 0], 1),
    convolution("grouped", (2, 4, 8, 8), (6, 2, 3, 3), [1, 1], [0, 0], [1, 1], False, [0, 0], 2),
    convolution("depthwise", (2, 4, 8, 8), (8, 1, 3, 3), [2, 2], [1, 1], [1, 1], False, [0, 0], 4),
    convolution("3d", (1, 2, 5, 6, 7), (3, 2, 2, 3, 3), [1, 2, 1], [1, 0, 1], [1, 1, 2], False, [0, 0, 0], 1),
    convolution("3d grouped", (1, 4, 5, 5, 5), (4, 2, 2, 2, 2), [1, 1, 1], [0, 0, 0], [1, 1, 1], False, [0, 0, 0], 2),
    convolution("transposed", (2, 3, 5, 6), (3, 4, 3, 3), [2, 2], [1, 1], [1, 1], True, [1, 0], 1),
    convolution("transposed same", (2, 3, 5, 6), (3, 4, 4, 4), [2, 2], [1, 1], [1, 1], True, [0, 0], 1),
    convolution("transposed 1d", (2, 3, 5), (3, 4, 3), [3], [0], [1], True, [2], 1),
    convolution("transposed grouped", (1, 4, 5, 6), (4, 3, 3, 3), [2, 1], [1, 2], [1, 2], True, [1, 0], 2),
    convolution("transposed 3d", (1, 2, 3, 4, 3), (2, 3, 2, 3, 2), [2, 1, 2], [0, 1, 0], [1, 1, 1], True, [1, 0, 0], 1),
    *(
        aten("avg_pool2d.default", image(3, 7, 8), [3, 2], [2, 1], [1, 1], ceil, pad, note=f"{ceil} {pad}")
        for ceil in (False, True)
        for pad in (False, True)
    ),
    aten("avg_pool2d.default", image(3, 8, 8), [3, 3], [1, 1], [1, 1], False, False, note="as SAME"),
    aten("avg_pool2d.default", image(900, 2, 9), [999, 3], [999, 3], [99, 1], True, True, note="far beyond the input"),
    aten(
        "max_pool2d_with_indices.default",
        image(900, 2, 9),
        [999, 3],
        [999, 3],
        [99, 1],
        [1, 1],
        True,
        note="far beyond the input",
    ),
    aten("avg_pool2d.default", image(3, 8, 8), [3, 3], [2, 2], [0, 0], False, True, 5, note="with a divisor"),
    aten("avg_pool3d.default", image(2, 5, 6, 7), [2, 3, 2], [2, 2, 2], [1, 1, 0], True, False),
    aten("max_pool2d_with_indices.default", image(3, 7, 8), [3, 3], [2, 2], [1, 1], [1, 1], True),
    aten("max_pool2d_with_indices.default", image(3, 7, 8), [2, 2], [1, 1], [0, 0], [2, 2], note="dilated"),
    aten("max_pool3d_with_indices.default", image(2, 5, 6, 7), [2, 3, 2], [2, 2, 2], [1, 1, 0]),
    Case("max_pool2d after relu", lambda a: torch.max_pool2d(a.relu(), 3, 2, 1), image(3, 8, 8)),
    *(aten(f"adaptive_max_pool{n}d.default", image(2, *(5, 6, 7)[:n]), [2, 4, 3][:n]) for n in (2, 3)),
    *(aten(f"_adaptive_avg_pool{n}d.default", image(2, *(5, 6, 7)[:n]), [2, 4, 3][:n]) for n in (2, 3)),
    aten("_adaptive_avg_pool2d.default", image(2, 6, 8), [2, 4], note="divisible"),
    aten("_adaptive_avg_pool2d.default", image(2, 6, 8), [1, 1], note="to one"),
    *(
        aten(f"{kind}{n}d.vec", image(2, *(3, 4, 5)[:n]), [7, 8, 9][:n], None)
        for kind in ("upsample_nearest", "_upsample_nearest_exact")
        for n in (1, 2, 3)
    ),
    aten("upsample_nearest2d.vec", image(2, 3, 4), None, [2.0, 3.0], note="by factors"),
    *(
        aten(f"upsample_{kind}.vec", image(2, *(3, 4, 5)[:n]), [7, 8, 9][:n], corners, None, note=str(corners))
        for kind, n in (("linear1d", 1), ("bilinear2d", 2), ("trilinear3d", 3), ("bicubic2d", 2))
        for corners in (False, True)
    ),
    aten("upsample_bilinear2d.vec", image(2, 5, 7), None, False, [1.3, 0.7], note="by factors"),
]

NORMALIZATIONS = [
    aten("_log_softmax.default", one(*A), 1, False),
    Case(
        "_native_batch_norm_legit_no_training",
        lambda x, w, b, m, v: torch.ops.aten._native_batch_norm_legit_no_training(x, w, b, m, v, 0.1, 1e-5)[0],
        lambda: (rand(2, 3, 4, 5), rand(3), rand(3), rand(3), rand(3, low=0.5, high=2.0)),
    ),
    aten("_native_batch_norm_legit.no_stats", lambda: (rand(2, 3, 9), rand(3), rand(3)), True, 0.1, 1e-5),
    aten("native_group_norm.default", lambda: (rand(2, 6, 4, 5), rand(6), rand(6)), 2, 6, 20, 3, 1e-5),
    aten("native_layer_norm.default", lambda: (rand(2, 3, 4),), [3, 4], None, None, 1e-5),
]

ATEN_CASES = [
    *ELEMENTWISE,
    *DIVISION,
    *BITS,
    *CONTENTS,
    *REDUCTIONS,
    *SORTING,
    *SHAPES,
    *INDEXING,
    *PRODUCTS,
    *IMAGES,
    *NORMALIZATIONS,
]
