"""The public model, ``DeepNet``, and the functions of the notes."""
