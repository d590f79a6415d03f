"""From a config to what runs: read, walk, summarise, build. What a run checks is engine's."""
