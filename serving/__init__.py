"""The onnxruntime service: recommendations from a release and a Feast online store."""
