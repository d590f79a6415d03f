"""Studies of models and runs: complexity, accuracy against cost, heat maps, gates, comparisons.

Not here: drawing (``visualization/``), reports of runs (``report/``), scores (``evaluation/``).
"""
