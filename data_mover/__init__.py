"""Data Mover: moves files to registered destinations, and knows that they arrived."""
