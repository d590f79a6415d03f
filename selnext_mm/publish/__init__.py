"""Publish a run as a folder, for the Hugging Face Hub or for anyone who gets the files.

Not here: conversion to other programs' formats (``export/``), pages about runs (``report/``).
"""
