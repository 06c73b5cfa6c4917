"""Small weights to start from, trained on the drawn plant alone: `python -m models_py.weights.starter` makes them."""
