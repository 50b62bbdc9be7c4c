"""What every implementation of a remote keeps: all of it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.contracts import listings, objects, uploads
from tests.contracts.far import Far

RemoteCheck = Callable[[Far, str], Awaitable[None]]
"""`check(far, bucket)`, with an S3 as whoever is in front of it sees it, and an empty bucket."""
REMOTE_CHECKS: tuple[RemoteCheck, ...] = (
    objects.an_object_comes_back_as_it_was_put,
    objects.the_last_put_is_what_is_there,
    objects.what_is_not_there_is_no_such_key,
    objects.a_bucket_that_is_not_there_is_no_such_bucket,
    objects.a_new_bucket_is_there_and_plain,
    objects.a_delete_takes_the_object_and_may_come_twice,
    objects.many_are_deleted_at_once,
    objects.a_range_is_a_stretch_of_the_bytes,
    objects.reads_judge_conditions,
    objects.writes_judge_conditions,
    objects.bytes_that_do_not_match_their_digest_are_refused,
    objects.a_body_that_breaks_off_stores_nothing,
    objects.tags_travel_and_change,
    objects.a_copy_has_the_bytes_and_members_of_its_source,
    uploads.parts_become_an_object,
    uploads.parts_are_listed_page_by_page,
    uploads.an_upload_shows_nothing_until_it_is_complete,
    uploads.an_upload_that_cannot_be_completed_stays,
    uploads.a_part_may_be_copied,
    listings.a_listing_is_in_order_and_says_what_is_there,
    listings.a_listing_selects_and_groups,
    listings.pages_follow_each_other,
    listings.the_first_listing_goes_on_from_a_marker,
    listings.names_in_a_listing_are_encoded_where_it_says_so,
    listings.no_entries_are_a_page_too,
    objects.a_versioned_bucket_keeps_what_was_there,
    objects.attributes_say_what_is_asked,
)
by_check = pytest.mark.parametrize("check", REMOTE_CHECKS, ids=lambda check: check.__name__)
by_way = pytest.mark.parametrize("typed", [False, True], ids=["by wire", "by client"])


def remote_contract(test: Callable[..., Awaitable[None]]) -> Any:
    """Run a test for each check, and for each way in which an S3 is asked (`typed`)."""
    return by_way(by_check(test))
