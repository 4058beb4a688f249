"""Network architectures, pretrained weights and optimizers."""
