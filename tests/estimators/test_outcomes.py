"""Remarks are heard by the nearest listener, once each, and by nobody outside."""

import pytest

from dropeact.estimators.outcomes import remark, remarking


def test_remarks_are_heard_once_each_in_their_order_and_never_outside():
    remark("before")
    with remarking() as heard:
        remark("reviews")
        with remarking() as inner:
            remark("of the inner one")
        remark("passkey")
        remark("reviews")
    remark("after")
    assert (heard, inner) == (["reviews", "passkey"], ["of the inner one"])


def half_done():
    remark("reviews")
    raise ValueError("broken")


def test_what_was_remarked_before_an_error_stays_heard_and_the_next_listener_starts_empty():
    with pytest.raises(ValueError, match="broken"), remarking() as heard:
        half_done()
    with remarking() as next_one:
        pass
    assert (heard, next_one) == (["reviews"], [])
