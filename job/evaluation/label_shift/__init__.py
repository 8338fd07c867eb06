"""Estimate the class shares of an unlabelled target. Pure functions of arrays; no target label is read."""
