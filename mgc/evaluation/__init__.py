"""What is done with the outputs of models: metrics, result files, transfer, reports."""
