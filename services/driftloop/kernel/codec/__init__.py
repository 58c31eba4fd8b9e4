"""Bytes and records: framing, single records through fastavro, batches through a compiled plan.

``records`` handles one record of any kind; ``events``, ``labels`` and ``rows`` handle batches of
the hot ones, as the columns of ``blocks``. Importing this package loads no compiler.
"""


def warm() -> None:
    """Compile what decodes and encodes batches; see ``codec.warming`` for the cost."""
    from driftloop.kernel.codec.warming import warm_codec

    warm_codec()
