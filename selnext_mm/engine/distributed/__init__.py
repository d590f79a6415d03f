"""Several processes: how they start (``processes``, ``launch``), meet (``rendezvous``) and agree.

Not here: the worker processes of data loaders.
"""
