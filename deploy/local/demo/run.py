"""What the demo does once the stack is up: load what is not loaded yet, tell where things are, keep usage flowing."""

from collections.abc import Callable, Mapping

from deploy.local.layout import Layout
from shared.events.topics import ServiceName


async def run_demo(layout: Layout, databases: Mapping[ServiceName, str], say: Callable[[str], None]) -> None:
    """Until cancelled."""
    say(f"nothing to load yet below {layout.root} for {len(databases)} services")
