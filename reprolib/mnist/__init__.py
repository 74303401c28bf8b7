"""The MNIST half: digits -> variants -> CGN -> counterfactuals -> classifier -> accuracy and GradCAM."""
