"""Networks and images to probabilities to labels: one path; saved models and files to predict."""
