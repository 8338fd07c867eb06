"""Share a model: a folder with weights, configuration and card, on disk or on the Hugging Face hub."""
