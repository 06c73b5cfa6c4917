"""Retrains the models that the variable `retrain` names, where their training rows changed."""


def model(dbt, session):
    """Run the warehouse's own training; a model whose rows are the same is left alone."""
    from udfs.builds.dbt_plugin import retrain

    dbt.ref("labels")  # reviews and annotations of this build come first
    return retrain(session, dbt.config.get("models"))
