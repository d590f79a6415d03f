"""Several processes: how they start (``launch``), meet (``rendezvous``) and what they agree on.

Not here: processes that load images, or that a command starts (``cli/``).
"""
