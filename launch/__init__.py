"""How a run is started."""
