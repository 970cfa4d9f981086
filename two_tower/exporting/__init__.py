"""Export of the towers to ONNX files that take raw feature values, and the parity gate."""
