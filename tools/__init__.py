"""Generators, reports and provisioners of the project; nothing here ships in a product image."""
