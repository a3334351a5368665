"""Export of networks to ONNX, and release of weights.

In: a checkpoint. Out: an ONNX file, in float32 or int8, or weights alone with their scores.
Start with `onnx.py`.
"""
