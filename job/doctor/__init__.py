"""`python -m job doctor`: whether these machines are fit for a run, and what to do where they are not."""
