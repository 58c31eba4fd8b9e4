"""Model families: frozen scorers made of arrays, and the trainers that make them.

Imports only the kernel and numeric libraries.
"""
