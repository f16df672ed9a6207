"""The layouts in which families put the heads' queries, keys and values, as `HeadTap`s for a component map.

separate       three projections, [n_heads * d_head] each (fewer heads for keys and values under grouping)
joined         one projection, q | k | v behind one another (GPT-2, Phi-3, MPT, Falcon with one key-value head)
interleaved    one projection, [n_heads, q | k | v] (GPT-NeoX, BLOOM, the older Falcon)
grouped        one projection, [n_kv_heads, its queries | k | v] (the newer Falcon)
"""

from __future__ import annotations

from typing import TypedDict

from mechscope.models.component_map import HeadTap

__all__ = ["Heads", "grouped_heads", "interleaved_heads", "joined_heads", "separate_heads"]


class Heads(TypedDict):
    """The three fields of a component map."""

    query: HeadTap
    key: HeadTap
    value: HeadTap


def separate_heads(query: str, key: str, value: str, *, n_heads: int, n_kv_heads: int | None = None) -> Heads:
    """Three projections."""
    return {
        "query": HeadTap(module=query, n_heads=n_heads),
        "key": HeadTap(module=key, n_heads=n_kv_heads or n_heads),
        "value": HeadTap(module=value, n_heads=n_kv_heads or n_heads),
    }


def joined_heads(module: str, *, d_head: int, n_heads: int, n_kv_heads: int | None = None) -> Heads:
    """One projection, q | k | v."""
    n_kv_heads = n_kv_heads or n_heads
    keys, values = n_heads * d_head, (n_heads + n_kv_heads) * d_head
    return {
        "query": HeadTap(module=module, n_heads=n_heads, start=0, stop=keys),
        "key": HeadTap(module=module, n_heads=n_kv_heads, start=keys, stop=values),
        "value": HeadTap(module=module, n_heads=n_kv_heads, start=values),
    }


def interleaved_heads(module: str, *, d_head: int, n_heads: int) -> Heads:
    """One projection, [n_heads, q | k | v]."""
    return grouped_heads(module, d_head=d_head, n_heads=n_heads, n_kv_heads=n_heads)


def grouped_heads(module: str, *, d_head: int, n_heads: int, n_kv_heads: int) -> Heads:
    """One projection, [n_kv_heads, the queries of this group | k | v]."""
    keys = n_heads // n_kv_heads * d_head
    return {
        "query": HeadTap(module=module, n_heads=n_heads, n_groups=n_kv_heads, start=0, stop=keys),
        "key": HeadTap(module=module, n_heads=n_kv_heads, n_groups=n_kv_heads, start=keys, stop=keys + d_head),
        "value": HeadTap(module=module, n_heads=n_kv_heads, n_groups=n_kv_heads, start=keys + d_head),
    }
