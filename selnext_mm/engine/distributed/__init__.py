"""Several processes: how they start (``launch``), meet (``rendezvous``) and what they agree on."""
