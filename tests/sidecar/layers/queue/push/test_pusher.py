"""What wakes the pusher."""

from s3d.layers.queue.push.pusher import Work


async def test_what_is_due_before_the_pusher_looks_by_itself_wakes_it() -> None:
    work = Work()
    work.rests_until = 100.0
    work.come(100.0)
    assert not work.is_set()
    work.come(99.9)
    assert work.is_set()


async def test_what_comes_while_the_pusher_looks_makes_it_look_again() -> None:
    work = Work()
    work.come(1e9)
    assert work.is_set()
