"""What a model of any task is: its preprocessing, options, architecture and predictions. No training and no files."""
