"""The ImageNet half: the CGN of three BigGANs, its counterfactuals, the ensemble that learns from them, its tests."""
