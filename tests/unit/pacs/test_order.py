"""Only what is missing is ordered, in as few orders as that takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from client.pacs.dimse import storage_contexts
from client.pacs.index import Listed
from client.pacs.order import Order, orders
from client.pacs.query import Found

STUDY = Found("1")
uids = st.sampled_from(["1.1", "1.2", "1.3"])
listings = st.dictionaries(st.integers(0, 400).map(str), uids, min_size=1, max_size=40).map(
    lambda some: sorted((Listed("1", series, f"1.9.{n}", "c") for n, series in some.items()), key=str)
)


def covered(order: Order, listed: list[Listed]) -> set[str]:
    """What an archive would send."""
    if order.level == "IMAGE":
        return set(order.sop_uids)
    return {one.sop_uid for one in listed if order.level == "STUDY" or one.series_uid == order.series_uid}


@given(listings, st.data())
def test_what_is_missing_is_ordered_once_and_nothing_else(listed: list[Listed], data: st.DataObject) -> None:
    listed.sort(key=lambda one: one.series_uid)
    held = data.draw(st.sets(st.sampled_from([one.sop_uid for one in listed])))
    made = list(orders(STUDY, listed, held.__contains__))
    sent = [uid for order in made for uid in covered(order, listed)]
    assert sorted(sent) == sorted({one.sop_uid for one in listed} - held)
    assert all(order.study_uid == "1" and len(order.sop_uids) <= 100 for order in made)
    if not held:
        assert made == [Order("1")]


def test_what_cannot_be_listed_is_ordered_whole() -> None:
    assert list(orders(Found("1", "1.2"), None, lambda uid: True)) == [Order("1", "1.2")]
    assert Order("1").level == "STUDY" and Order("1", "1.2").level == "SERIES"
    assert Order("1", "1.2", ("1.3", "1.4")).keys["SOPInstanceUID"] == ["1.3", "1.4"]


@given(st.sets(st.integers(0, 300), max_size=150))
def test_as_many_transfer_syntaxes_are_offered_as_fit(numbers: set[int]) -> None:
    classes = [f"1.2.{number}" for number in numbers]
    contexts = storage_contexts(classes)
    assert len(contexts) <= 127  # one more is for C-GET itself
    offered = {str(context.abstract_syntax) for context in contexts}
    assert offered >= set(classes) or len(classes) > 127
    if 0 < len(classes) <= 63:
        for uid in classes:
            own = [context for context in contexts if context.abstract_syntax == uid]
            assert len(own) >= 2  # never native only
