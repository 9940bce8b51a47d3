"""Any network, each of its layers in a precision of its own.

A layer is a module with operations of its own: a convolution, but also a block that adds, or an
attention that multiplies. What a module computes itself, outside the modules in it, is one
layer, by the module's name. Nothing is known of the code: every function of PyTorch that it calls
is intercepted, and what it takes is cast to what its layer computes in. PyTorch exports the
casts with the rest.

Reductions over many values are in fp32 in every layer: engines may sum in half where PyTorch
does not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_leaves, tree_map
    from torch.utils.flop_counter import FlopCounterMode

from hat_deploy.networks.assignment import OWN, Assignment
from hat_deploy.networks.scaled import Scaled, divide_rows, factors_of
from hat_deploy.precision import Precision


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOVES = _words(
    """
    __get__ __set__ __delete__ __getitem__ __setitem__ __len__ __iter__ __contains__ __format__
    __repr__ __bool__ __index__ __int__ __float__ size dim numel stride data_ptr is_contiguous
    is_floating_point is_complex get_device item tolist numpy element_size storage_offset
    untyped_storage requires_grad_ register_hook view view_as reshape reshape_as permute transpose
    swapaxes swapdims movedim t mT contiguous flatten unflatten squeeze unsqueeze expand expand_as
    broadcast_to repeat repeat_interleave tile chunk split split_with_sizes tensor_split unbind
    narrow select index_select gather roll flip rot90 as_strided unfold pixel_shuffle
    pixel_unshuffle channel_shuffle pad to float half double bfloat16 int long bool type type_as
    cpu cuda detach clone copy_ zeros_like ones_like full_like empty_like rand_like randn_like
    new_zeros new_ones new_full new_tensor new_empty view_as_real view_as_complex argmax argmin
    argsort broadcast_tensors meshgrid
    """
)
"""Functions that compute nothing: they move values, make new ones, or say what a tensor is."""
_WIDE = _words(
    """
    mean sum var std var_mean std_mean prod cumsum norm vector_norm linalg_vector_norm linalg_norm
    normalize logsumexp adaptive_avg_pool1d adaptive_avg_pool2d group_norm instance_norm
    local_response_norm
    """
)
"""Functions that stay in fp32 in every layer."""
_PRODUCTS = _words(
    """
    conv1d conv2d conv3d conv_transpose2d linear matmul __matmul__ mm bmm addmm baddbmm einsum
    bilinear multi_head_attention_forward
    """
)
"""Functions that have multi-adds."""
_ACTIVATIONS = _words(
    """
    relu relu6 leaky_relu rrelu elu celu selu silu mish hardswish hardsigmoid hardtanh threshold
    """
)
"""Functions that change what they take where they are told so."""


class _Intercepted(TorchFunctionMode):
    """Sees every function that a network calls within it, with the layer that calls."""

    def __init__(self, running: list[str]) -> None:
        super().__init__()
        self._running = running

    @abstractmethod
    def _compute(self, layer: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What the function gives."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            with self:  # it computes wider than an engine may: by its formula instead
                return _attend(*args, **kwargs)
        if not self._running or _name(func) in _MOVES:
            return func(*args, **kwargs)
        return self._compute(self._running[-1], func, args, kwargs)


class Measured(_Intercepted):
    """Notes the largest magnitude that each layer takes or gives, and its multi-adds."""

    def __init__(self, running: list[str]) -> None:
        super().__init__(running)
        self.taken: dict[str, float] = defaultdict(float)
        self.given: dict[str, float] = defaultdict(float)
        self.multi_adds: dict[str, int] = defaultdict(int)

    def _compute(self, layer: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if _name(call) in _PRODUCTS:
            with FlopCounterMode(display=False) as flops:
                result = call(*args, **kwargs)
            self.multi_adds[layer] += flops.get_total_flops() // 2
        else:
            result = call(*args, **kwargs)
        wide = _name(call) in _WIDE  # what it gives is cast where it is taken next
        for peaks, values in ((self.taken, (args, kwargs)), (self.given, result)):
            largest = 0.0 if wide else max(map(_largest, _floats(values)), default=0.0)
            peaks[layer] = max(peaks[layer], largest)
        return result


class Rounded(_Intercepted):
    """Computes in fp32 and rounds what the given layers take and give to half.

    It differs from half itself by what sums round on the way, and takes no longer than fp32.
    """

    def __init__(self, running: list[str], layers: frozenset[str], dtype: torch.dtype) -> None:
        super().__init__(running)
        self._layers = layers
        self._dtype = dtype

    def _compute(self, layer: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if layer not in self._layers or _name(call) in _WIDE:
            return call(*_cast(args, torch.float32), **_cast(kwargs, torch.float32))
        taken, named = tree_map(self._rounded, (args, kwargs))
        result = tree_map(self._rounded, call(*taken, **named))
        return args[0].copy_(result) if _in_place(call, args, kwargs) else result

    def _rounded(self, value: Any) -> Any:
        return value.to(self._dtype).float() if _is_float(value) else value


class Casting(_Intercepted):
    """Computes each layer in its own precision."""

    def __init__(self, running: list[str], dtypes: Mapping[str, torch.dtype]) -> None:
        super().__init__(running)
        self._dtypes = dtypes

    def _compute(self, layer: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        dtype = torch.float32 if _name(call) in _WIDE else self._dtypes[layer]
        result = call(*_cast(args, dtype), **_cast(kwargs, dtype))
        if not _in_place(call, args, kwargs) or result is args[0]:
            return result
        # The name is bound to what "x += y" gives: half need not take what is computed wider.
        bound = _name(call).startswith("__i") and result.dtype != args[0].dtype
        return result if bound else args[0].copy_(result)


@contextmanager
def followed(network: nn.Module, running: list[str]) -> Iterator[None]:
    """Within it, the last of ``running`` is the name of the module that is computing."""
    handles = list(_follow(network, running))
    try:
        yield
    finally:
        running.clear()
        for handle in handles:
            handle.remove()


class Mixed:
    """Converts a network in place: every layer gets the precision it was assigned.

    It is to be called within :attr:`mode`, and cannot be copied afterwards.
    """

    mode: TorchFunctionMode
    half: torch.dtype

    def __init__(self, network: nn.Module, assignment: Assignment) -> None:
        scale(network, assignment.scaled)
        self.half = getattr(torch, Precision.of(assignment.precision).dtype)
        dtypes = {
            _layer(name): torch.float32 if _layer(name) in assignment.wide else self.half
            for name, _ in network.named_modules()
        }
        for name, module in network.named_modules():
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.dtype == torch.float32:
                    tensor.data = tensor.data.to(dtypes[_layer(name)])
        running: list[str] = []
        list(_follow(network, running))
        self.mode = Casting(running, dtypes)
        rounded = frozenset(name for name, dtype in dtypes.items() if dtype == self.half)
        self._emulation = Rounded(running, rounded, self.half)

    @contextmanager
    def emulated(self) -> Iterator[None]:
        """Within it, half is computed as :class:`Rounded` does."""
        casting, self.mode = self.mode, self._emulation
        try:
            yield
        finally:
            self.mode = casting


def scale(network: nn.Module, names: tuple[str, ...]) -> None:
    """Divide these layers by powers of two, and multiply their results, in place."""
    for name in names:
        holder, _, own = name.rpartition(".")
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        factors = factors_of(layer)
        assert factors is not None
        with torch.no_grad():
            divide_rows(layer, factors)
        setattr(network.get_submodule(holder), own, Scaled(layer, factors))


def scalable(network: nn.Module, name: str) -> bool:
    """Whether a layer has rows of weights that :func:`scale` would divide."""
    layer = network if name == OWN else network.get_submodule(name)
    if type(layer) is not nn.Linear and type(layer) is not nn.Conv2d:
        return False
    return factors_of(layer) is not None


def _follow(network: nn.Module, running: list[str]) -> Iterator[Any]:
    for name, module in network.named_modules():
        layer = _layer(name)

        def enter(module: nn.Module, inputs: object, layer: str = layer) -> None:
            running.append(layer)

        def leave(module: nn.Module, inputs: object, output: object) -> None:
            running.pop()

        yield module.register_forward_pre_hook(enter)
        yield module.register_forward_hook(leave, always_call=True)


def _layer(name: str) -> str:
    return name or OWN


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", "")).removeprefix("fft_")


def _in_place(function: Any, args: Any, kwargs: Any) -> bool:
    """Whether it changes its first argument."""
    name = _name(function)
    if name in _ACTIVATIONS:
        return bool(kwargs.get("inplace")) or any(value is True for value in args)
    if name.startswith("__"):
        return name.startswith("__i") and name != "__invert__"
    return name.endswith("_")


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _floats(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if _is_float(value)]


def _largest(values: Tensor) -> float:
    # NaN must not vanish in a maximum: it counts as infinite.
    return float(values.abs().max().nan_to_num(torch.inf, torch.inf)) if values.numel() else 0.0


def _cast(values: Any, dtype: torch.dtype) -> Any:
    return tree_map(lambda value: value.to(dtype) if _is_float(value) else value, values)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None:
        kept = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if kept else scores + attn_mask
    return torch.softmax(scores, dim=-1) @ value
