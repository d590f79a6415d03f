"""A run as a folder for the Hugging Face Hub, or for anybody who gets the files."""
