"""Pairs and labelled sets on disk, and what turns them into batches."""
