"""Several processes: how they start (``processes``, ``launch``), meet (``rendezvous``) and agree.

Not here: processes that load images.
"""
