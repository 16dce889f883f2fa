"""What scripts/plant_bugs.py is made of."""
