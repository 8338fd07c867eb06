"""`python -m job doctor`: check that machines are ready for a run, and advise how to fix them."""
