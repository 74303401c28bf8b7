"""Reproduction of *Counterfactual Generative Networks* (Sauer & Geiger, ICLR 2021) and of its first reproduction."""

__version__ = "0.1.0"
