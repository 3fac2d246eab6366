"""A model made better at one thing without losing the others: `seesay finetune`."""
