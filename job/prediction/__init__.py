"""Parts of `job.predict`: inputs, outputs, adaptation to the images, explanations."""
