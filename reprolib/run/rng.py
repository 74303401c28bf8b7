"""Randomness that depends on *what* is drawn, never on when or by whom.

Two forms. ``seeded(*key)`` makes torch's global generator a function of a key such as ``(seed, "cgn", step)``: a
training run that resumes at step 700 needs no replay of the 700 steps before. ``uniform(key, index, draws)`` gives
every image of a data set a stream of its own, in one vectorised call: the data do not depend on batch size, order
or number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from torch import Tensor

Key = tuple[str | int, ...]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


_has_gpu = cache(torch.cuda.is_available)


def seed_of(*key: str | int) -> int:
    """A seed in [0, 2**63) from the SHA-256 of a key; equal keys give equal seeds on every machine."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(*key: str | int) -> Iterator[None]:
    """Inside the block torch's global generators start from ``key``; outside they go on undisturbed.

    Works in the forked processes that read images too: they must not touch the GPU that their parent uses.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed takes a millisecond where there is no GPU to seed, for tracebacks that nobody reads
        seed = torch.manual_seed if _has_gpu() else torch.default_generator.manual_seed
        seed(seed_of(*key))
        yield


def permutation(n: int, *key: str | int) -> Tensor:
    """A random permutation of 0..n-1 that is a function of ``key`` (int64, on the CPU)."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_of(*key)))


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011).

    counter: (N, 4) uint32 blocks; key: two uint32. Returns (N, 4) uint32. The tests hold it to the known answers
    that come with the paper.
    """
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k = [np.uint64(key[0]), np.uint64(key[1])]
    for _ in range(10):
        first, second = c[0] * _MULTIPLIERS[0], c[2] * _MULTIPLIERS[1]
        c = [
            (second >> _SHIFT) ^ c[1] ^ k[0],
            second & _LOW,
            (first >> _SHIFT) ^ c[3] ^ k[1],
            first & _LOW,
        ]
        k = [(k[i] + _WEYL[i]) & _LOW for i in range(2)]
    return np.stack(c, axis=1).astype(np.uint32)


def uniform(key: Key, index: Tensor, draws: int) -> Tensor:
    """``draws`` uniform numbers in (0, 1) for every entry of ``index``; float64, shape (len(index), draws)."""
    seed = seed_of(*key)
    blocks = -(-draws // 4)
    counter = np.zeros((len(index), blocks, 4), dtype=np.uint32)
    counter[..., 0] = index.numpy().astype(np.uint32)[:, None]
    counter[..., 1] = np.arange(blocks, dtype=np.uint32)
    words = philox4x32(counter.reshape(-1, 4), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    numbers = (words.astype(np.float64) + 0.5) / 2.0**32
    return torch.from_numpy(numbers.reshape(len(index), blocks * 4)[:, :draws].copy())


def classes(key: Key, index: Tensor, count: int) -> Tensor:
    """A uniform class in 0..count-1 for every entry of ``index``; int64 (len(index),)."""
    return (uniform(key, index, 1)[:, 0] * count).long()


def truncated_normal(uniform: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Standard normal numbers conditioned on (low, high), by inversion of uniform ones: what redrawing until they fit
    gives, without the loop. float64, the shape of ``uniform``."""
    below, above = (torch.special.ndtr(torch.as_tensor(bound, dtype=torch.float64)) for bound in (low, high))
    return torch.special.ndtri(below + uniform * (above - below))
