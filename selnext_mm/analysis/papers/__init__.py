"""The papers' printed figures and how a measured number is held against one; no own results."""
