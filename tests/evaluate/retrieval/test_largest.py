import pytest
import torch

from evaluate.retrieval import largest as module
from evaluate.retrieval.largest import Largest

CPU = torch.device("cpu")
ORDERS = ["as they come", "ascending", "descending", "mostly equal", "nearly all alike"]


def in_order(order: str, queries: int, rows: int) -> torch.Tensor:
    products = torch.randn(queries, rows, generator=torch.Generator().manual_seed(3))
    if order == "ascending":
        return products.sort(dim=1).values
    if order == "descending":
        return products.sort(dim=1, descending=True).values
    if order == "mostly equal":
        return products.round()
    if order == "nearly all alike":
        products[:, 5:-5] = 0.25
    return products


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("block", "kept"), [(640, 12), (97, 12), (97, 40), (5, 12)])
def test_the_largest_of_blocks_are_those_of_all(order, block, kept):
    products = in_order(order, 30, 2000)
    found = Largest(len(products), kept, CPU)
    for start in range(0, products.shape[1], block):
        found.add(products[:, start : start + block].clone(), start)
    values, rows = found.best()
    assert torch.equal(values, products.topk(kept, dim=1).values)
    assert torch.equal(products.gather(1, rows), values)
    assert all(len(set(of_query)) == kept for of_query in rows.tolist())  # none twice


def test_fewer_products_than_are_kept():
    found = Largest(2, 5, CPU)
    found.add(torch.tensor([[1.0, -torch.inf, 3.0], [2.0, 2.0, -torch.inf]]), 10)
    values, rows = found.best()
    assert values.tolist() == [[3, 1] + [-torch.inf] * 3, [2, 2] + [-torch.inf] * 3]
    assert rows[0, :2].tolist() == [12, 10] and sorted(rows[1, :2].tolist()) == [10, 11]


@pytest.mark.parametrize(("order", "blocks"), [("as they come", 0), ("ascending", 12)])
def test_whole_rows_are_sorted_only_where_most_of_them_is_large(order, blocks, monkeypatch):
    whole, add_sorted = [], Largest._add_sorted
    monkeypatch.setattr(
        Largest, "_add_sorted", lambda *words: whole.append(words) or add_sorted(*words)
    )
    width = 50 * module.SEGMENT
    products, found = in_order(order, 30, 12 * width), Largest(30, 12, CPU)
    for start in range(0, products.shape[1], width):
        found.add(products[:, start : start + width], start)
    assert len(whole) == blocks
