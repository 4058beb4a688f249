"""Export networks to LiteRT, and import Keras models."""
