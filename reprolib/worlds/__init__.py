"""The worlds of natural images: ImageNet, and Scenes, which is rendered and whose truth is known."""
