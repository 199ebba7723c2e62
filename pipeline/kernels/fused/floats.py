"""Floats as bits inside compiled loops: reading stored types, rounding to them, standard NaNs. No arithmetic.

A stored type travels as a small code (`CODES`). Values are held in fp32 whatever they were stored in, so that
a loop exists once; `quantise` rounds them to the compute type after every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, overload

from pipeline.kernels.fused.compiling import compiled

#: Storage types that the loops read and write, and the code under which a loop knows them.
CODES = {"float32": 0, "bfloat16": 1, "float16": 2, "float64": 3}
F32, BF16, F16, F64 = CODES.values()

_ABSOLUTE = np.uint32(0x7FFFFFFF)
_INFINITE = np.uint32(0x7F800000)
_NAN_F32 = np.uint32(0x7FC00000)
_NAN_BF16 = np.uint16(0x7FC0)
_NAN_F16 = np.uint16(0x7E00)
_HALF_UP = np.uint32(0x7FFF)
_ONE = np.uint32(1)
_SIXTEEN = np.uint32(16)
_LOW = np.uint32(0xFFFF0000)


def _cast(name: str, source: Any, target: Any, body: Any) -> Any:
    """An intrinsic of one LLVM instruction, from one scalar type to another."""

    def typed(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return body(builder, arguments[0])

        return target(source), generate

    typed.__name__ = name
    return intrinsic(typed)


as_float = _cast("as_float", types.uint32, types.float32, lambda b, v: b.bitcast(v, ir.FloatType()))
as_bits = _cast("as_bits", types.float32, types.uint32, lambda b, v: b.bitcast(v, ir.IntType(32)))
_from_half = _cast(
    "_from_half",
    types.uint16,
    types.float32,
    lambda b, v: b.fpext(b.bitcast(v, ir.HalfType()), ir.FloatType()),
)
_to_half = _cast(
    "_to_half",
    types.float32,
    types.uint16,
    lambda b, v: b.bitcast(b.fptrunc(v, ir.HalfType()), ir.IntType(16)),
)


def _pointer(name: str, target: Any, bits: Any) -> Any:
    """An intrinsic that takes an address for a pointer to elements of one type."""
    return _cast(name, types.uint64, types.CPointer(target), lambda b, v: b.inttoptr(v, bits.as_pointer()))


_pointer_bf16 = _pointer("_pointer_bf16", types.uint16, ir.IntType(16))
_pointer_f16 = _pointer("_pointer_f16", types.int16, ir.IntType(16))
_pointer_f32 = _pointer("_pointer_f32", types.float32, ir.FloatType())
_pointer_f64 = _pointer("_pointer_f64", types.float64, ir.DoubleType())


def single(value: Any) -> Any:
    """A stored element as fp32. Inside loops the type says what it is: uint16 a bfloat16, int16 a float16."""
    raise NotImplementedError("only compiled loops call this")


@overload(single, inline="always")  # type: ignore[untyped-decorator]  # numba's own gap
def _single(value: Any) -> Any:
    return {types.uint16: _from_bf16, types.int16: _from_f16, types.float32: _same}.get(value, _from_f64)


def _from_bf16(value: Any) -> Any:
    return as_float(np.uint32(value) << _SIXTEEN)


def _from_f16(value: Any) -> Any:
    return _from_half(np.uint16(value))


def _same(value: Any) -> Any:
    return value


def _from_f64(value: Any) -> Any:
    return np.float32(value)


@compiled
def bf16_at(address: int, first: int, count: int) -> Any:
    """Stored bfloat16 elements [first, first + count) of the array at an address, as uint16."""
    return carray(_pointer_bf16(np.uint64(address) + np.uint64(2 * first)), count)


@compiled
def f16_at(address: int, first: int, count: int) -> Any:
    """The same of float16, as int16."""
    return carray(_pointer_f16(np.uint64(address) + np.uint64(2 * first)), count)


@compiled
def f32_at(address: int, first: int, count: int) -> Any:
    """The same of float32."""
    return carray(_pointer_f32(np.uint64(address) + np.uint64(4 * first)), count)


@compiled
def f64_at(address: int, first: int, count: int) -> Any:
    """The same of float64."""
    return carray(_pointer_f64(np.uint64(address) + np.uint64(8 * first)), count)


@compiled
def quantise(values_T: Any, code: int) -> None:
    """Round fp32 values to the nearest of the compute type, ties to even, in place. fp32 stays as it is."""
    if code == BF16:
        for j in range(values_T.size):
            bits = as_bits(values_T[j])
            even = (bits + _HALF_UP + ((bits >> _SIXTEEN) & _ONE)) & _LOW
            values_T[j] = as_float(_NAN_F32 if (bits & _ABSOLUTE) > _INFINITE else even)
    elif code == F16:
        for j in range(values_T.size):
            values_T[j] = _from_half(_to_half(values_T[j]))


@compiled
def narrow(values_T: Any, code: int, first: int, out: Any) -> None:
    """Lay fp32 values down at element `first` of the byte array `out` in a storage type, NaNs in standard
    form.
    """
    count = values_T.size
    if code == BF16:
        stored = out[2 * first : 2 * (first + count)].view(np.uint16)
        for j in range(count):
            bits = as_bits(values_T[j])
            even = np.uint16((bits + _HALF_UP + ((bits >> _SIXTEEN) & _ONE)) >> _SIXTEEN)
            stored[j] = _NAN_BF16 if (bits & _ABSOLUTE) > _INFINITE else even
    elif code == F16:
        stored = out[2 * first : 2 * (first + count)].view(np.uint16)
        for j in range(count):
            half = _to_half(values_T[j])
            stored[j] = _NAN_F16 if (as_bits(values_T[j]) & _ABSOLUTE) > _INFINITE else half
    elif code == F32:
        single = out[4 * first : 4 * (first + count)].view(np.float32)
        for j in range(count):
            bits = as_bits(values_T[j])
            single[j] = as_float(_NAN_F32 if (bits & _ABSOLUTE) > _INFINITE else bits)
    else:
        double = out[8 * first : 8 * (first + count)].view(np.float64)
        for j in range(count):
            bits = as_bits(values_T[j])
            double[j] = np.float64(as_float(_NAN_F32 if (bits & _ABSOLUTE) > _INFINITE else bits))
