"""What a HAT costs: parameters, multi-adds and memory, from its config alone.

Plain integers; needs no torch. Multi-adds are those of convolutions, linear layers and the two
matrix products of each attention, zero padding included, and of nothing else (no softmax,
normalisation, activation or bias). The paper does not say what it counts; this comes within 0.6 %
of its figures: 103.9 G where it has 103.7 for HAT x4 at 64x64, 54.6 where it has 54.9 for HAT-S.
"""

from __future__ import annotations

from hat_deploy.networks.cost import Cost, Memory, Part, conv, linear, pixels_of, products
from hat_deploy.networks.hat.dimensions import Dimensions


def cost(config: Dimensions, height: int = 64, width: int = 64) -> Cost:
    """Parameters and multi-adds of a HAT on an LR input of ``height`` x ``width``.

    The kinds of layers: ``shallow`` (first convolution), ``projections`` (W-MSA's q, k, v and
    output), ``attention`` (W-MSA's two products; its bias tables), ``cab``, ``mlp`` (of HABs),
    ``ocab`` (all of it, its MLP included), ``closing`` (convolutions that close RHAGs and body),
    ``reconstruction`` (upsampler and last convolution), ``norms`` (all LayerNorms; parameters
    only).

    Raises:
        ValueError: a size is not a positive multiple of the window.
    """
    pixels = pixels_of(height, width, config.window_size)
    dim, hidden, window = config.embed_dim, config.mlp_channels, config.window_size
    blocks, groups = sum(config.depths), len(config.depths)
    mlp = linear(dim, hidden, pixels) + linear(hidden, dim, pixels)
    qkv = linear(dim, 3 * dim, pixels, bias=config.qkv_bias)
    projections = qkv + linear(dim, dim, pixels)
    heads = zip(config.depths, config.num_heads, strict=True)
    tables = sum(depth * count for depth, count in heads) * (2 * window - 1) ** 2
    closing = conv(dim, dim, pixels) * (groups + 1) if config.body_conv else Part()
    parts = {
        "shallow": conv(config.in_channels, dim, pixels),
        "projections": projections * blocks,
        "attention": Part(tables, blocks * products(dim, pixels, window**2)),
        "cab": _cab(config, pixels) * blocks,
        "mlp": mlp * blocks,
        "ocab": _ocab(config, projections + (_frfn(config, pixels) if config.ast else mlp), pixels),
        "closing": closing,
        "reconstruction": _reconstruction(config, pixels),
        "norms": Part(2 * dim * _norms(config)),
    }
    agreement = "" if config.ast else "for published shapes within 0.6% of the paper's figures"
    return Cost(height, width, parts, agreement)


def memory(
    config: Dimensions, height: int, width: int, *, element_size: int = 4, fused: bool = True
) -> Memory:
    """An estimate of the memory of one pass, batch 1, over an LR input of ``height`` x ``width``.

    Activations are the largest of up to five sums, one for the busiest moment of each kind of
    layer, of the tensors that an eager pass (every result a tensor of its own, freed when last
    used) holds then. Against PyTorch's own account of allocations it is within 20 %. Not counted:
    workspaces of convolutions and matrix products, the allocator's rounding, the runtime itself.
    A runtime that reuses buffers or fuses layers can stay below it.

    Args:
        element_size: bytes of one number, of weights and activations alike.
        fused: attention never stores its (heads, queries, keys) scores, as flash-attention
            kernels; otherwise scores and probabilities of all windows exist side by side.

    Raises:
        ValueError: a size is not a positive multiple of the window.
    """
    pixels = pixels_of(height, width, config.window_size)
    moments = _moments(config, fused=fused)
    moment = max(moments, key=lambda name: moments[name])
    return Memory(
        weights=cost(config, height, width).parameters * element_size,
        position_biases=_expanded_biases(config) * element_size,
        activations=moments[moment] * pixels * element_size,
        moment=moment,
    )


def process_memory(
    config: Dimensions, height: int, width: int, *, batch: int = 1
) -> dict[str, int]:
    """An estimate of the largest resident bytes of a process that runs an fp32 artifact on a CPU.

    By engine: ``openvino`` (one stream) and ``onnxruntime``, as
    :mod:`hat_deploy.engines.onnxruntime` sets it up. Python and the library are counted, images
    are not. The terms are those of :func:`memory`; what multiplies them is fitted to networks
    of 48 to 180 channels at 64 to 256, with OpenVINO 2026.4 and ONNX Runtime 1.31 on Linux. It is
    within 12 % of the measurements it was fitted to; others may be further off.

    OpenVINO never stores attention's scores, and holds four copies of weights and biases while it
    compiles. ONNX Runtime stores scores, twice in W-MSA and thrice in OCAB.

    Raises:
        ValueError: a size is not a positive multiple of the window.
    """
    pixels = pixels_of(height, width, config.window_size) * batch
    constants = 4 * (cost(config, height, width).parameters + _expanded_biases(config))
    fused, stored = _moments(config, fused=True), _moments(config, fused=False)
    if config.overlap_size:
        stored["ocab"] += max(config.num_heads) * config.overlap_size**2
    return {
        "openvino": 110_000_000 + 4 * constants + 4 * pixels * max(fused.values()),
        "onnxruntime": 75_000_000 + constants + 4 * pixels * max(stored.values()),
    }


def _cab(config: Dimensions, pixels: int) -> Part:
    dim, inner, squeezed = config.embed_dim, config.cab_channels, config.squeeze_channels
    if not inner:
        return Part()
    convs = conv(dim, inner, pixels) + conv(inner, dim, pixels)
    if not squeezed:
        return convs
    return convs + linear(dim, squeezed, 1) + linear(squeezed, dim, 1)


def _ocab(config: Dimensions, linears: Part, pixels: int) -> Part:
    """All OCABs, given the linear layers of one."""
    overlap, groups = config.overlap_size, len(config.depths)
    if not overlap:
        return Part()
    tables = sum(config.num_heads) * (config.window_size + overlap - 1) ** 2
    tables += groups * config.ast  # one scalar each
    attention = groups * products(config.embed_dim, pixels, overlap**2)
    return linears * groups + Part(tables, attention)


def _frfn(config: Dimensions, pixels: int) -> Part:
    dim, hidden, convolved = config.embed_dim, config.mlp_channels, config.embed_dim // 4
    partial = 9 * convolved**2
    depthwise = Part(10 * hidden, 9 * hidden * pixels)
    linears = linear(dim, 2 * hidden, pixels) + linear(hidden, dim, pixels)
    return Part(partial, partial * pixels) + depthwise + linears


def _reconstruction(config: Dimensions, pixels: int) -> Part:
    feat = config.upsampler_channels
    total = conv(config.embed_dim, feat, pixels)
    for factor in upsampling_factors(config.scale):
        total += conv(feat, feat * factor**2, pixels)
        pixels *= factor**2
    return total + conv(feat, config.in_channels, pixels)


def upsampling_factors(scale: int) -> list[int]:
    """What each pixel shuffle of the upsampler multiplies the sides by."""
    return [3] if scale == 3 else [2] * (scale.bit_length() - 1)


def _norms(config: Dimensions) -> int:
    """LayerNorms: two per HAB and OCAB, one before them where asked for, one after."""
    pairs = sum(config.depths) + (len(config.depths) if config.overlap_size else 0)
    return 2 * pairs + config.patch_norm + 1


def _expanded_biases(config: Dimensions) -> int:
    """Numbers in the bias of every attention, expanded to (heads, queries, keys)."""
    queries = config.window_size**2
    return sum(
        heads * queries * (depth * queries + config.overlap_size**2)
        for depth, heads in zip(config.depths, config.num_heads, strict=True)
    )


def _moments(config: Dimensions, *, fused: bool) -> dict[str, int]:
    """Numbers alive per LR pixel at the busiest moment of each kind of layer.

    While blocks run, the input, the shallow features, the group's input and the block's input
    wait for their residuals.
    """
    dim, hidden, inner = config.embed_dim, config.mlp_channels, config.cab_channels
    heads, window = max(config.num_heads), config.window_size
    waiting = config.in_channels + 3 * dim
    summed = waiting + dim  # and the block's own running sum
    normed, qkv, feat = dim, 3 * dim, config.upsampler_channels
    result_or_scores = 2 * dim if fused else 2 * heads * window**2
    moments = {
        # q, k, v exist twice: as a map and as windows.
        "attention": waiting + normed + 2 * qkv + result_or_scores,
        "mlp": summed + 2 * normed + 2 * hidden,
        # The enlarged features exist before and after the pixel shuffle.
        "reconstruction": config.in_channels + 2 * dim + feat + 2 * feat * config.scale**2,
    }
    if inner:
        moments["cab"] = summed + normed + max(2 * inner, inner + dim, 2 * dim)
    if config.overlap_size:
        overlapping = 2 * dim * config.overlap_size**2 // window**2
        # With AST no kernel has it: scores, both terms and what a term is made of exist at once.
        scores = (4 if config.ast else 2) * heads * config.overlap_size**2
        # Overlapping windows take two copies to gather; one is gone when scores exist.
        second = max(overlapping, scores) if config.ast or not fused else overlapping
        moments["ocab"] = waiting + qkv + dim + overlapping + second
    return moments
