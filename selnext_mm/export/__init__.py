"""Models as files for other programs: what is exported, how it is written, how it is checked."""
