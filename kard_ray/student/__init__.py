"""Students: methods, the input renderer that training and inference share, and the training loop."""
