"""A state machine over the whole onion: operations as clients ask them, and what the world does to a gateway.

Each rule is one step: an operation, an outage, a lost or late answer, a foreign write, a rotten disk, a crash, a drain.
Every answer is held to the reference in tests/model.py, and after a drain so is the remote. Steps and seed say what is
asked; threads run as they like, so that an answer may differ from run to run, but never from what is owed.
"""

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.cached import Caching
from tests.machine.faults import Faults
from tests.machine.pages import Listings
from tests.machine.parts import Uploads
from tests.machine.world import STEPS, World


class Gateway(Uploads, Listings, Faults):
    """One gateway from its first start on."""


class CachingGateway(Uploads, Listings, Caching):
    """One with a read cache."""


def play(world: World, steps: int, number: int) -> None:
    """Run the machine for about so many steps, chosen by a seed. Raises what it found first."""
    machine = seed(number)(type("Gateway", (CachingGateway if world.cache else Gateway,), {"world": world}))
    how = settings(
        max_examples=max(1, steps // STEPS),
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=how)
    except Exception as error:  # noqa: BLE001 (it is raised again, or what is behind it)
        # Hypothesis repeats what failed, and says what came of that. Threads run as they like.
        raise world.failure or error from None
