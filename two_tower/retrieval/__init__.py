"""The retrieval index: an ONNX graph that returns the exact top k items of a query embedding."""
