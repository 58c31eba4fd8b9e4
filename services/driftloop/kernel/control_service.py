"""What the services that decide have in common: one core on the control topics, state in the
changelogs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.processor import Core
from driftloop.kernel.recovery import ChangelogRecovery
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.service import Context


def control_runner(
    context: Context,
    catalog: Catalog,
    name: str,
    core: Core,
    companions: Sequence[str] = (),
) -> Runner:
    """A runner led by the windows topic: the state of control partition p belongs to who holds
    windows/p, and p of ``companions`` comes along."""
    topics = catalog.topics

    def scope(source: TopicPartition) -> Sequence[tuple[int, str]]:
        return [(source.partition, "")] if source.topic == topics.windows else []

    beside: Callable[[str], Sequence[str]] = lambda topic: companions  # noqa: E731
    return Runner(
        Wiring(
            name=name,
            core=core,
            recovery=ChangelogRecovery(
                context.log, context.clock, topics, name, core, scope, context.beat
            ),
            lead_topics=lambda c: (c.topics.windows,),
            companions=beside,
            dead_letter_limit=context.settings.dead_letter_limit,
        ),
        context.log,
        catalog,
        clock=context.clock,
        meter=context.meter,
        instance=context.settings.instance,
        committer=context.committer(),
    )
