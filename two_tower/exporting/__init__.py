"""Towers as ONNX files that take raw feature values, and the proof that they answer as the trained ones."""
