"""Scenes: a rendered world of nine classes whose masks, textures and backgrounds are known, in ImageNet's place."""
