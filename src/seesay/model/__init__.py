"""A trained thing you can hold: weights, tokenizer, pixels."""
