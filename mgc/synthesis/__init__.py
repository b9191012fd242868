"""Synthetic music: genres, composition, instruments and the data set made of them."""
