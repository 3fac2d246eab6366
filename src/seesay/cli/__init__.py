"""The doors: words from a human become values. One module per verb; `main` opens them. Never loads torch."""
