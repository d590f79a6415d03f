"""Publish a run as a folder, for the Hugging Face Hub or for anyone who gets the files."""
