"""Small weights to start from, trained on the drawn plant alone.

    python -m models_py.training.starter_weights

makes them.
"""
