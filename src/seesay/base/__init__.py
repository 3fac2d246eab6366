"""The ground: nouns, settings, errors, the journal, durable files, where am I running. Never loads torch."""
