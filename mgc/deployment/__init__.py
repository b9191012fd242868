"""Classification of songs, and export of models to run without PyTorch."""
