"""Several processes: how they start (``launch``), meet (``rendezvous``) and agree (``collectives``)."""
