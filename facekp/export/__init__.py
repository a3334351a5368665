"""Networks for other runtimes, and the weights that ship.

In: a checkpoint. Out: ONNX files, int8 files, released weights.
Start with `onnx.py`.
"""
