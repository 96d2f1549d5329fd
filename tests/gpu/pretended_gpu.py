"""A simulated GPU: tensors whose device is `cuda`, but whose data are in ordinary memory.

Operations are computed on the CPU, so that whole programs run and their numbers can be compared.
Before each operation, torch's FakeTensorMode checks whether a GPU would accept it: it refuses
tensors on different devices, as torch does. Whatever would make the program wait for the GPU is
recorded, with the line of code.

Not simulated: kernels (those of cuDNN and cuBLAS, and their precision), the order in which streams
run, the GPU's memory, `torch.compile`, NCCL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from tests.gpu.real_gpu import product_line

HOST, GPU = torch.device("cpu"), torch.device("cuda", 0)
aten = torch.ops.aten
# Operations that need values on the host, or a result whose size is known there.
_READS = {
    aten._local_scalar_dense.default: "reads a number",
    aten.equal.default: "compares",
    aten.masked_select.default: "selects by a mask",
    aten.nonzero.default: "looks for what is not zero",
    aten._unique2.default: "looks for unique values",
}
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
_UNKNOWN = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
_PINNED = "_is_pinned"


class MixedDevicesError(Exception):
    """A GPU would refuse an operation."""


class Waits:
    """Counts waits for the GPU by place: "trainer/step.py:90 reads a number"."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()

    def note(self, what: str) -> None:
        if place := product_line():
            self.places[f"{place} {what}"] += 1

    def take(self) -> Counter[str]:
        """Return and reset the counts since the last call."""
        places, self.places = self.places, Counter()
        return places


WAITS = Waits()


class OnGpu(torch.Tensor):
    """A tensor on the simulated GPU; `value` shares its data, and is on the CPU."""

    value: torch.Tensor
    _leave = False  # whether the program itself requested the next copy to the host
    _is_latest = False  # whether the latest operation on tensors was on the GPU

    @staticmethod
    def __new__(cls, value: torch.Tensor) -> OnGpu:
        tensor = torch.Tensor._make_subclass(cls, value)
        tensor.value = value
        return tensor

    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def to(
        self, *args: Any, non_blocking: bool = False, copy: bool = False, **kwargs: Any
    ) -> torch.Tensor:
        """As torch's `to`, which would take this for a tensor on the CPU and return it
        unchanged."""
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        how = {"dtype": dtype or self.dtype, "memory_format": layout or torch.preserve_format}
        is_here = device is None or device.type == "cuda"
        if is_here and self.dtype == how["dtype"] and layout is None and not copy:
            return self
        if not is_here and not non_blocking:
            WAITS.note("copies to the host")
        OnGpu._leave = not is_here
        try:
            copied: torch.Tensor = aten._to_copy.default(self, **how)
        finally:
            OnGpu._leave = False
        return copied

    def cpu(self, *_: Any, **__: Any) -> torch.Tensor:
        return self.to("cpu")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def record_stream(self, stream: Any) -> None:
        assert isinstance(stream, Stream), f"{stream} is no stream"

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"OnGpu({self.value})"

    def __format__(self, how: str) -> str:
        return format(self.cpu(), how)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.value.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return _dispatched(func, args, kwargs or {})


class Stream:
    """A stream on which every operation completes immediately."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record_event(self, event: Event | None = None) -> Event:
        return event or Event()

    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream)

    def wait_event(self, event: Event) -> None:
        assert isinstance(event, Event)

    def synchronize(self) -> None: ...


class Event:
    """An event. Waiting for it is not recorded, as it waits for a part of the work only."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, stream: Stream | None = None) -> None:
        assert stream is None or isinstance(stream, Stream)

    def synchronize(self) -> None: ...


class _Mode(TorchDispatchMode):
    """Intercepts all operations, also those that create tensors."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return _dispatched(func, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Simulate a GPU in the block; yield its device. Parts of torch that need a GPU and are not
    operations on tensors are replaced: streams, events, page-locked memory, and autocast, which
    casts the operations that it casts on a CPU."""
    autocast = torch.autocast

    def cast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    stand_ins: list[tuple[Any, str, Any]] = [
        (torch, "autocast", cast),
        (torch.Tensor, "pin_memory", _pinned),
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (torch.cuda, "_lazy_init", lambda: None),
        (torch.cuda, "is_available", lambda: True),
        (torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None),
        (torch.optim.Optimizer, "_cuda_graph_capture_health_check", lambda self: None),
        (torch.nn.utils.clip_grad, "_group_tensors_by_device_and_dtype", _grouped),
        (torch.cuda, "Stream", Stream),
        (torch.cuda, "Event", Event),
        (torch.cuda, "stream", nullcontext),
        (torch.cuda, "current_stream", lambda device=None: Stream()),
        (torch.cuda, "synchronize", lambda device=None: WAITS.note("synchronises")),
        (torch.cuda, "mem_get_info", lambda device=None: (64 << 30, 80 << 30)),
        (torch.cuda, "memory_reserved", lambda device=None: 0),
        (torch.cuda, "memory_allocated", lambda device=None: 0),
        (torch.cuda, "max_memory_allocated", lambda device=None: 1 << 20),
        (torch.cuda, "reset_peak_memory_stats", lambda device=None: None),
    ]
    with ExitStack() as stack:
        for owner, name, stand_in in stand_ins:
            if hasattr(owner, name):
                stack.enter_context(patch.object(owner, name, stand_in))
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) needs no driver then
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifts)
        overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # Module.to
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        stack.enter_context(_Mode())
        yield GPU


def _grouped(lists: Sequence[Sequence[torch.Tensor]]) -> dict[Any, Any]:
    """Group tensors by device and dtype. (torch's own function groups by the device that its C++
    code sees, the CPU.)"""
    groups: dict[Any, Any] = {}
    for row in zip(*lists, strict=True):
        key = row[0].device, row[0].dtype
        of_key, _ = groups.setdefault(key, ([[] for _ in lists], []))
        for of_list, tensor in zip(of_key, row, strict=True):
            of_list.append(tensor)
    return groups


def _pinned(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
    assert not isinstance(tensor, OnGpu), "only memory of the host can be page-locked"
    copy = tensor.clone()
    setattr(copy, _PINNED, True)
    return copy


def _dispatched(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check that a GPU would accept an operation, compute it on the CPU, and place its results."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    device = kwargs.get("device")
    is_sent = device is not None and torch.device(device).type == "cuda"
    if tensors:
        OnGpu._is_latest = any(isinstance(x, OnGpu) for x in tensors)
    # Autograd's C++ code takes these gradients for the CPU's, and creates zeros for them there.
    is_gradient = not tensors and torch._C._current_graph_task_id() != -1
    if not (is_sent or (OnGpu._is_latest and (tensors or is_gradient))):
        return _on_the_host(func, args, kwargs)
    _note_waits(func, args, kwargs)
    if OnGpu._leave:
        on_gpu = [False]
    elif is_sent or not all(isinstance(x, OnGpu) for x in tensors):
        on_gpu = _asked(func, args, kwargs, tensors)
    else:
        on_gpu = []  # nothing to check: all tensors are on the GPU
    return _placed(func, _computed(func, args, kwargs), on_gpu, args)


def _on_the_host(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    is_pinned = bool(kwargs.get("pin_memory"))
    made = func(*args, **(kwargs | {"pin_memory": False} if is_pinned else kwargs))
    is_pinned |= func.is_view and getattr(args[0], _PINNED, False)
    if is_pinned and isinstance(made, torch.Tensor):
        setattr(made, _PINNED, True)
    return made


def _asked(
    func: Any, args: Any, kwargs: dict[str, Any], tensors: Sequence[torch.Tensor]
) -> list[bool]:
    """Whether each result is on the GPU. Raises MixedDevicesError if a GPU would refuse the
    operation."""
    if func is aten.copy_.default:
        return [isinstance(args[0], OnGpu)]
    if func in _INDEXING:
        return [_must_index(func, args)]
    try:
        with _fake_mode():
            fakes, fake_kwargs = tree_map(_fake, (args, kwargs))
            results = func(*fakes, **fake_kwargs)
    except _UNKNOWN as error:
        if len({isinstance(x, OnGpu) for x in tensors if x.dim()}) > 1:
            raise _refused(func, tensors, str(error)) from error
        return []
    except RuntimeError as error:
        raise _refused(func, tensors, str(error)) from error
    made = [x for x in tree_flatten(results)[0] if isinstance(x, torch.Tensor)]
    return [x.device.type == "cuda" for x in made]


def _fake(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    device = GPU if isinstance(value, OnGpu) else HOST
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)


def _must_index(func: Any, args: Any) -> bool:
    """Whether an indexed tensor is on the GPU. Its indices may be on the host; otherwise they and
    the values must be on the same device, which FakeTensorMode does not check."""
    on_gpu, numbers = isinstance(args[0], OnGpu), [x for x in args[1] if x is not None]
    values = [x for x in args[2:3] if x.dim()]
    is_wrong = not on_gpu and any(isinstance(x, OnGpu) for x in numbers)
    if is_wrong or any(isinstance(x, OnGpu) is not on_gpu for x in values):
        why = "an index, or a value, of another device"
        raise _refused(func, [args[0], *numbers, *values], why)
    return on_gpu


def _refused(func: Any, tensors: Sequence[torch.Tensor], why: str) -> MixedDevicesError:
    devices = ", ".join("cuda" if isinstance(tensor, OnGpu) else "cpu" for tensor in tensors)
    return MixedDevicesError(f"{func} of {devices}: {why.partition(chr(10))[0]}")


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    args, kwargs = tree_map(lambda x: x.value if isinstance(x, OnGpu) else x, (args, kwargs))
    host = {"device": HOST, "pin_memory": False}
    return func(*args, **kwargs | {name: host[name] for name in host.keys() & kwargs.keys()})


def _placed(func: Any, result: Any, on_gpu: Sequence[bool], args: Any) -> Any:
    """Put results on their devices. An in-place operation returns its own argument."""
    if func is aten.resize_.default:
        with torch._C._DisableTorchDispatch():
            func(*args)
    given = {id(x.value): x for x in tree_flatten(args)[0] if isinstance(x, OnGpu)}
    flat, shape = tree_flatten(result)
    places = iter(on_gpu or [True] * len(flat))

    def place(value: torch.Tensor) -> torch.Tensor:
        if not next(places):
            return value
        return given[id(value)] if id(value) in given else OnGpu(value)

    placed = [place(x) if isinstance(x, torch.Tensor) else x for x in flat]
    return tree_unflatten(placed, shape)


def _note_waits(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    if func in _READS:
        WAITS.note(_READS[func])
    elif func in _INDEXING:
        numbers = [x for x in args[1] if x is not None]
        if any(x.dtype is torch.bool for x in numbers):
            WAITS.note("indexes by a mask")
        elif any(not isinstance(x, OnGpu) for x in numbers) and isinstance(args[0], OnGpu):
            WAITS.note("indexes by what is on the host")
    elif func is aten.copy_.default:
        to_gpu, from_gpu = (isinstance(x, OnGpu) for x in args[:2])
        is_free = len(args) > 2 and args[2] and getattr(args[from_gpu is False], _PINNED, False)
        if to_gpu is not from_gpu and not is_free:
            WAITS.note("copies to the GPU" if to_gpu else "copies to the host")
    elif func is aten._to_copy.default and not isinstance(args[0], OnGpu):
        is_free = kwargs.get("non_blocking") and getattr(args[0], _PINNED, False)
        if not is_free:
            WAITS.note("copies to the GPU")


@cache
def _fake_mode() -> FakeTensorMode:
    """The shared FakeTensorMode; creating one imports all of torch's compiler."""
    return FakeTensorMode()
