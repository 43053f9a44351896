from tests.photograph import _portrait, image, landmarks

__all__ = ["_portrait", "image", "landmarks"]
