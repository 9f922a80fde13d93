"""Content and wording of the charts: plain functions on rows of a mart, without drawing."""
