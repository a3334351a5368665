"""Networks for other runtimes, and weights to ship.

In: a checkpoint. Out: an ONNX file, in float32 or int8, or weights alone with their scores.
Start with `onnx.py`.
"""
