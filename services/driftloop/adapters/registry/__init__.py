"""A schema registry that speaks Confluent's REST interface. The only one to ask it.

``client`` asks; ``opening`` makes a process's wire of what the settings name.
"""
