"""Order flow for demonstrations, tests and measurements: generated or recorded, pure and repeatable."""
