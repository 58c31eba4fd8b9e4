"""What people said of an alert, as the commands topic has it, against the alert's records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from driftloop.cli.control import read_records, read_topics
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Alert, Command, CommandAction, DeadLetter
from driftloop.kernel.topics import ControlTopics


@dataclass(frozen=True, slots=True)
class Commands:
    """Those about one alert, in the log's order."""

    topics: ControlTopics
    placed: Sequence[tuple[Command, TopicPartition, int]]
    """With the partition and offset of each."""

    @classmethod
    def read(
        cls, log: Log, topics: ControlTopics, alert: str, progress: Callable[[str], None]
    ) -> Commands:
        """What is on the topic by now."""
        found: list[tuple[Command, TopicPartition, int]] = []
        for batch in read_topics(log, [topics.commands]):
            for row, value in enumerate(batch.values):
                try:
                    command = None if value is None else codec(Command).decode(value)
                except DecodeError as error:
                    offset = batch.offsets[row]
                    progress(f"{batch.topic}/{batch.partition} offset {offset}: {error}")
                    continue
                if command is None or command.alert != alert:
                    continue
                if command.action is CommandAction.ACKNOWLEDGE:
                    # An end of what is not snoozed counts for nothing.
                    command = replace(command, until=0)
                elif command.action is not CommandAction.SNOOZE:
                    continue
                found.append((command, batch.source, batch.offsets[row]))
        return cls(topics, found)

    @property
    def all(self) -> list[Command]:
        """Without their places."""
        return [command for command, _, _ in self.placed]

    def unheard(
        self, log: Log, records: Sequence[Alert], committed: Mapping[TopicPartition, int]
    ) -> tuple[list[str], list[str]]:
        """Of commands that no record shows: what is wrong, and what cannot be told. ``committed``:
        up to where the service has read. One that came when the alert was not open is a dead
        letter, and shows on no record."""
        # The records after it carry what was said, too.
        shown = Counter((record.acknowledged_by, record.snoozed_until) for record in records)
        left = []
        for placed in self.placed:
            command = placed[0]
            if shown[command.who, command.until] > 0:
                shown[command.who, command.until] -= 1
            else:
                left.append(placed)
        if not left:
            return [], []
        refused = {
            (TopicPartition(letter.topic, letter.partition), letter.offset)
            for letter in read_records(log, DeadLetter, self.topics.dead_letters)
            if letter.topic == self.topics.commands
        }
        problems, notes = [], []
        for command, source, offset in left:
            if (source, offset) in refused:
                continue
            text = (
                f"no record shows command {command.id} ({command.action} by {command.who}, "
                f"{source.topic}/{source.partition} offset {offset})"
            )
            if committed.get(source, 0) > offset:
                problems.append(f"{text}, and no dead letter says why")
            else:
                notes.append(f"{text}: it is not known whether drift has read it")
        return problems, notes
